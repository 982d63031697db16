"""Names of things that were found to be lost: whoever meets one stores it again instead of counting on it.

A file in the cache of each machine, which may be lost at any time: the next verification finds the damage again.
What stands in it wrongly costs a second copy, and no more.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from restead.repository.cached import despite_removal, write_whole
from restead.repository.chunk import NAME_SIZE

_FILE, _LOCK = "lost", "lost.lock"


class LostThings:
    """What is lost of one project, as this machine knows; any number of threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._names = self._read()
        self._found: set[bytes] = set()  # since the file was written last
        self._healed: set[bytes] = set()

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def add(self, names: Iterable[bytes]) -> None:
        """Know these to be lost."""
        with self._lock:
            fresh = set(names) - self._names
            self._names |= fresh
            self._found |= fresh
            self._healed -= fresh

    def remove(self, names: Iterable[bytes]) -> None:
        """Know that these are stored again, durable and in the index."""
        if not self._names:
            return
        with self._lock:
            healed = self._names.intersection(names)
            self._names -= healed
            self._found -= healed
            self._healed |= healed

    def keep(self) -> None:
        """Write down what has changed, beside what others have written meanwhile."""
        with self._lock:
            if not (self._found or self._healed):
                return
            despite_removal(self._folder, self._merge)
            self._found, self._healed = set(), set()

    def _merge(self) -> None:
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._names = (self._read() | self._found) - self._healed
            write_whole(self._folder / _FILE, b"".join(sorted(self._names)))
        finally:
            os.close(lock)

    def _read(self) -> set[bytes]:
        try:
            data = (self._folder / _FILE).read_bytes()
        except FileNotFoundError:
            return set()
        whole = len(data) - len(data) % NAME_SIZE
        return {data[at : at + NAME_SIZE] for at in range(0, whole, NAME_SIZE)}
