"""What a live backup would leave behind if it were killed, noted in a file before it is done.

The file is locked as long as the moment is open: a note that nobody holds is of one that was killed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from restead.drivers.disks.locked_file import locked

_MOST = 1 << 20  # bytes of a note


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What was begun and has to be ended."""

    socket: str  # on which libvirt serves the disks: tells our backup job from anybody else's
    scratch: tuple[str, ...]  # files for what the guest overwrites meanwhile
    checkpoint: str = ""  # made with the backup; nobody builds on it before the moment is closed
    frozen: bool = False  # the guest's file systems may be frozen because of us


class Note:
    """The file, locked."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> LeftOver | None:
        """Return what stands there, None if nothing has to be ended."""
        text = os.pread(self._fd, _MOST, 0)
        try:
            plain = json.loads(text or b"null")
            return None if plain is None else LeftOver(**{**plain, "scratch": tuple(plain["scratch"])})
        except (ValueError, TypeError, KeyError):  # cut short by a power cut, which has ended the guest as well
            return None

    def write(self, left: LeftOver | None) -> None:
        """Note this instead of what stands there."""
        text = b"" if left is None else json.dumps(asdict(left)).encode()
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))


@contextmanager
def noting(path: Path) -> Iterator[Note | None]:
    """Give the note in that file, made if it is missing; None if somebody else holds it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path) as fd:
        yield None if fd is None else Note(fd)
