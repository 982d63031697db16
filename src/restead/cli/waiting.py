"""Waiting for a backup or a restore to end, also across a restart of the service."""

import time
from collections.abc import Callable, Iterator

from restead.cli.client import Client, Json
from restead.cli.wiring import say
from restead.domain.errors import Unavailable

_PAUSES = (0.1, 0.1, 0.2, 0.3, 0.5)  # seconds between looks; the last one repeats
_PATIENCE = 60.0  # seconds without an answer: a service that is restarted takes its runs up again


def states(look: Callable[[], Json], under_way: Callable[[Json], bool]) -> Iterator[Json]:
    """Yield what *look* returns, again and again, the last time when it is not under way any more.

    Raises:
        Unavailable: there was no answer for a minute.
    """
    turn = 0
    silent_since: float | None = None
    while True:
        try:
            found = look()
        except Unavailable as error:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE:
                raise
            if turn >= 0:
                say(f"{error.message}; still waiting")
            turn = -1  # said; said again only after an answer in between
        else:
            turn, silent_since = max(turn, 0), None
            yield found
            if not under_way(found):
                return
            turn += 1
        time.sleep(_PAUSES[min(max(turn, 0), len(_PAUSES) - 1)])


def backup_states(client: Client, id: str) -> Iterator[Json]:
    """Yield the backup until it is no longer being made."""
    return states(
        lambda: client.get(f"/checkpoint_items/{id}")["checkpoint_item"], lambda each: each["status"] == "protecting"
    )


def restore_states(client: Client, id: str) -> Iterator[Json]:
    """Yield the restore until it has ended."""
    return states(lambda: client.get(f"/restores/{id}")["restore"], lambda each: each["status"] == "in_progress")


def restore_events(client: Client, id: str) -> Iterator[Json]:
    """Yield the events of a restore from the first to `end`, each once, also over breaks of the connection.

    Raises:
        Unavailable: there was no answer for a minute.
    """
    last, silent_since = 0, 0.0
    while True:
        try:
            for event in client.stream(f"/restores/{id}/events", last):
                last, silent_since = event["id"], 0.0
                yield event
                if event["kind"] == "end":
                    return
        except Unavailable as error:
            if not silent_since:
                silent_since = time.monotonic()
                say(f"{error.message}; still waiting")
            elif time.monotonic() - silent_since > _PATIENCE:
                raise
        time.sleep(_PAUSES[-1])
