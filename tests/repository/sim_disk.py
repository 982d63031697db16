"""A disk that remembers what was flushed and what was not: after any operation it can say what a crash leaves.

Unsynced writes reach the medium in any order, 4 KiB piece by piece, each not at all, whole, or torn between any two
of its states.
"""

import random
import threading
from collections.abc import Callable, Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import Buffer

PIECE = 4096
SECTOR = 512


class SimDisk:
    """A target (that keeps space, and can be read past its cache) with a cache that a crash empties.

    *moved* is called after each write, blanking and flush.  *fail_flush*: number of a flush that fails, from 1 on: what
    was unsynced may be lost, the cache says that it is there.
    """

    def __init__(self, data: bytes, *, moved: Callable[[], None] = lambda: None, fail_flush: int = 0) -> None:
        self._medium = bytearray(data)
        self._unsynced: dict[int, list[bytes]] = {}  # piece → its states since the last flush, in order
        self._cache = bytearray(data)
        self._moved = moved
        self._fail_flush = fail_flush
        self._lock = threading.RLock()
        self.flushes = 0
        self.written: list[tuple[int, int]] = []  # offset and length of every write and blanking
        self.reserved: list[tuple[int, int]] = []
        self.punched: list[tuple[int, int]] = []
        self.read = 0  # bytes

    @property
    def size(self) -> int:
        return len(self._cache)

    @property
    def data(self) -> bytes:
        return bytes(self._cache)

    @property
    def medium(self) -> bytes:
        """What a crash leaves if nothing that is unsynced reaches the medium."""
        return bytes(self._medium)

    def crash(self, luck: random.Random) -> bytes:
        """Return one of the things that the medium may hold after a crash now."""
        with self._lock:
            left, unsynced = bytearray(self._medium), {piece: [*ways] for piece, ways in self._unsynced.items()}
        for piece, states in unsynced.items():
            place = slice(piece * PIECE, (piece + 1) * PIECE)
            ways = [bytes(left[place]), *states]
            one, other = luck.choice(ways), luck.choice(ways)
            cut = luck.randrange(PIECE // SECTOR + 1) * SECTOR if luck.random() < 0.5 else PIECE
            left[place] = one[:cut] + other[cut:]
        return bytes(left)

    def flip(self, offset: int) -> None:
        """Change a byte on the medium, behind the cache."""
        self._medium[offset] ^= 1

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read += len(buffer)
        buffer[:] = self._cache[offset : offset + len(buffer)]

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        pieces = range(offset // PIECE, -(-(offset + len(buffer)) // PIECE))
        assert self._unsynced.keys().isdisjoint(pieces), "reread before a flush"
        buffer[:] = self._medium[offset : offset + len(buffer)]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        if length:
            yield Extent(offset, length, True)

    def write_at(self, offset: int, data: Buffer) -> None:
        data = bytes(data)
        assert offset >= 0
        assert offset + len(data) <= self.size, "a write outside of the disk"
        with self._lock:
            self.written.append((offset, len(data)))
            self._cache[offset : offset + len(data)] = data
            for piece in range(offset // PIECE, -(-(offset + len(data)) // PIECE)):
                self._unsynced.setdefault(piece, []).append(bytes(self._cache[piece * PIECE : (piece + 1) * PIECE]))
        self._moved()

    def zero_at(self, offset: int, length: int) -> None:
        raise AssertionError("zeroed without keeping the space")

    def blank_at(self, offset: int, length: int) -> None:
        self.write_at(offset, bytes(length))

    def reserve(self, offset: int, length: int) -> None:
        self.reserved.append((offset, length))

    def punch(self, offset: int, length: int) -> None:
        assert not any(self._cache[offset : offset + length]), "space of data given back"
        self.punched.append((offset, length))

    def flush(self) -> None:
        with self._lock:
            self.flushes += 1
            failed = self.flushes == self._fail_flush
            self._medium[:] = self.crash(random.Random(self.flushes)) if failed else self._cache
            self._unsynced = {}
        if failed:
            raise Unavailable("cannot flush: I/O error")
        self._moved()


def differing_pieces(one: bytes, other: bytes, step: int = PIECE) -> int:
    """Return the bytes of the pieces in which two disks of one size differ."""
    return sum(
        len(one[at : at + step]) for at in range(0, len(one), step) if one[at : at + step] != other[at : at + step]
    )
