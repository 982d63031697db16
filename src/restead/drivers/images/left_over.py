"""What a live backup would leave behind if it were killed, noted in a file before it is done.

The file is locked as long as the moment is open: a note that nobody holds is of one that was killed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from restead.drivers.disks.locked_file import locked

_ROOM = 512  # bytes: a note is written by one call, over all of the one before


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What was done to a running QEMU and has to be undone."""

    pid: int  # of that QEMU: another one has nothing of it
    paused: bool = False  # its guest may stand still because of us
    frozen: bool = False  # its file systems may be frozen because of us


class Note:
    """The file, locked."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> LeftOver | None:
        """Return what stands there, None if nothing has to be undone."""
        text = os.pread(self._fd, _ROOM, 0).strip()
        try:
            plain = json.loads(text or b"null")
            return None if plain is None else LeftOver(**plain)
        except (ValueError, TypeError):  # a newer release's: what can be found without it is undone anyway
            return LeftOver(pid=0)

    def write(self, left: LeftOver | None) -> None:
        """Note this instead of what stands there."""
        text = b"" if left is None else json.dumps(asdict(left)).encode()
        os.pwrite(self._fd, text.ljust(_ROOM), 0)

    def change(self, **changed: bool) -> None:
        """Note something else of what was done to that QEMU."""
        left = self.read()
        assert left is not None
        self.write(replace(left, **changed))


@contextmanager
def noting(path: Path) -> Iterator[Note | None]:
    """Give the note in that file, made if it is missing; None if somebody else holds it."""
    with locked(path) as fd:
        yield None if fd is None else Note(fd)
