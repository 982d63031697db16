"""Memory that is touched once and used again, and never more of it than a bound.

The first touch of fresh memory is among the slowest things on many virtual machines, and direct I/O wants
page-aligned buffers.  So whoever works on a unit borrows its buffers here, and the next one gets the same.
"""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_libc.memcmp.restype = ctypes.c_int
_libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.memset.restype = ctypes.c_void_p
# A second handle that keeps the interpreter lock: giving it up for 4 KiB costs more than comparing them.
_quick = ctypes.PyDLL(None)
_quick.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_quick.memcmp.restype = ctypes.c_int
_M_TRIM_THRESHOLD = -1  # mallopt(3)
_M_MMAP_THRESHOLD = -3

_ZEROES = ctypes.create_string_buffer(64 * 1024)
_ZEROES_AT = ctypes.addressof(_ZEROES)


class Aligned:
    """A page-aligned buffer of *size* bytes, for one thread at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._map = mmap.mmap(-1, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.view = memoryview(self._map)

    def is_zero(self, start: int, length: int) -> bool:
        """Tell whether those bytes are all zero.  Most answers come from the first bytes."""
        at, end = self._address + start, self._address + start + length
        while at < end:
            step = min(len(_ZEROES), end - at)
            if _libc.memcmp(at, _ZEROES_AT, step):
                return False
            at += step
        return True

    def clear(self, start: int, length: int) -> None:
        """Make those bytes zero."""
        _libc.memset(self._address + start, 0, length)

    def unlike(self, other: "Aligned", start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of each run of pieces of *step* bytes in which the two buffers differ."""
        begin = -1
        one, two, memcmp = self._address, other._address, _quick.memcmp
        for at in range(start, stop, step):
            if memcmp(one + at, two + at, min(step, stop - at)):
                begin = at if begin < 0 else begin
            elif begin >= 0:
                yield begin, at
                begin = -1
        if begin >= 0:
            yield begin, stop


class Buffers:
    """The buffers of all work in this process, at most *most* bytes of them at once.

    *idle*: bytes of returned buffers that are kept for the next borrower.
    """

    def __init__(self, most: int, idle: int) -> None:
        self._most = most
        self._idle = idle
        self._used = 0
        self._free: list[Aligned] = []
        self._changed = Condition()

    @contextmanager
    def borrow(self, *sizes: int) -> Iterator[list[Aligned]]:
        """Lend one buffer of each size, waiting for others to return theirs if need be.

        All that a unit of work needs is borrowed at once: nobody waits for memory while holding some.
        """
        total = sum(sizes)
        with self._changed:
            # Whoever needs more than there is gets it when nobody else has anything.
            self._changed.wait_for(lambda: self._used == 0 or self._used + total <= self._most)
            self._used += total
            found = [self._take(size) for size in sizes]
        lent = [Aligned(size) if one is None else one for one, size in zip(found, sizes, strict=True)]
        try:
            yield lent
        finally:
            with self._changed:
                self._used -= total
                self._free += lent
                while sum(one.size for one in self._free) > self._idle:
                    self._free.pop(0)
                self._changed.notify_all()

    def _take(self, size: int) -> Aligned | None:
        for at in range(len(self._free) - 1, -1, -1):  # the one that was used last is in the caches
            if self._free[at].size == size:
                return self._free.pop(at)
        return None


# 15 disks being restored at once, four threads each: 8.3 MiB for each thread.
BUFFERS = Buffers(512 << 20, 64 << 20)


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed up to 32 MiB, instead of giving it back and touching it anew.

    Compressors return fresh `bytes` of up to a chunk; without this each is an mmap, page faults and a munmap.
    Where the C library has no mallopt nothing happens.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
