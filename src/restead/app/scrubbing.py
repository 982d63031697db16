"""Scrubbing a repository's folder, or a copy of one, wherever it is: no key, no data folder, no service."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from restead.domain.errors import NotFound
from restead.domain.verification import Finding
from restead.drivers.blobs import LocalBlobs
from restead.repository import Journal, scrub
from restead.workflows.verify import Pace


def scrub_folder(
    folder: Path, rate: int, told: Callable[[int, int], None], *, restart: bool
) -> Iterator[Finding]:
    """Yield what is damaged in *folder*; what an interruption leaves is gone on with the next time.

    Raises:
        NotFound: there is no repository in it.
    """
    if not (folder / "keyring").is_dir():
        raise NotFound(f"there is no repository in {folder}: it has no folder keyring")
    journal = Journal(_state_file(folder), restart=restart)
    try:
        spend = Pace(rate or None, lambda: None)
        for error in scrub(LocalBlobs(folder, reads_only=True), spend=spend, journal=journal, told=told):
            yield Finding(error.message.split(maxsplit=1)[0].rstrip(":"), error.message)
    except BaseException:
        journal.keep()
        raise
    journal.forget()


def _state_file(folder: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "restead" / f"scrub-{hashlib.sha256(bytes(folder.resolve())).hexdigest()[:16]}.json"
