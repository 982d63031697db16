"""Puts the house together: the only room that knows every other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from restead.cli import House, run
from restead.cli.doors import Recovery, RecoverySecret
from restead.domain.errors import NotFound
from restead.domain.verification import Finding

if TYPE_CHECKING:
    from restead.settings import Settings


class Doors:
    """What the command line cannot do by itself.

    The house is imported when it is opened: a command that only speaks HTTP starts three times as fast.
    """

    def serve(self, settings: "Settings") -> None:
        from restead.app.serving import serve

        serve(settings)

    def scrub(
        self, settings: "Settings", address: str, rate: int, restart: bool, told: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        from restead.app.scrubbing import scrub_at

        return scrub_at(address, settings, rate, told, restart=restart)

    @contextmanager
    def recovery(
        self, settings: "Settings", address: str, secret: RecoverySecret, at_least: tuple[int, bytes] | None
    ) -> Iterator[Recovery]:
        from restead.app.recovering import recovery

        with recovery(settings, address, secret, at_least) as found:
            yield found

    @contextmanager
    def house(self, settings: "Settings", *, make: bool) -> Iterator[House]:
        from restead.app.house import FolderHouse
        from restead.app.opening import opened

        if not make and not settings.data.exists():
            raise NotFound(f"there is no data folder {settings.data}; say which with --data or RESTEAD_DATA")
        with opened(settings) as found:
            yield FolderHouse(found)


def main() -> None:
    """Entry point of the command `restead`."""
    run(Doors())
