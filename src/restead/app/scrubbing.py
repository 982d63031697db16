"""Scrubbing a repository, or a copy of one, wherever it is: no key, no data folder, no service."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from restead.app.stores import folder_of, open_to_look, window_for
from restead.domain.errors import NotFound
from restead.domain.verification import Finding
from restead.repository import Journal, scrub
from restead.settings import Settings
from restead.workflows.verify import Pace

_THREADS = 4  # as many as restore a disk


def scrub_at(
    address: str, settings: Settings, rate: int, told: Callable[[int, int], None], *, restart: bool
) -> Iterator[Finding]:
    """Yield what is damaged at *address*; what an interruption leaves is gone on with the next time.

    Raises:
        NotFound: there is no repository.
        Unavailable: the store does not answer.
    """
    store = open_to_look(address, settings)
    if not any(store.list("keyring/")):
        raise NotFound(f"there is no repository in {address}: nothing in it is called keyring/")
    journal = Journal(_state_file(address, settings), restart=restart)
    try:
        spend = Pace(rate or None, lambda: None)
        threads = window_for(address, settings).ahead or _THREADS
        for error in scrub(store, spend=spend, journal=journal, told=told, threads=threads):
            yield Finding(error.message.split(maxsplit=1)[0].rstrip(":"), error.message)
    except BaseException:
        journal.keep()
        raise
    journal.forget()


def _state_file(address: str, settings: Settings) -> Path:
    folder = folder_of(address)
    place = bytes(folder.resolve()) if folder else f"{settings.s3_endpoint} {address.rstrip('/')}".encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "restead" / f"scrub-{hashlib.sha256(place).hexdigest()[:16]}.json"
