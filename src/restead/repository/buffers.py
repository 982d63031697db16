"""Memory that is touched once and used again.

The first touch of fresh memory is among the slowest things on many virtual machines, and direct I/O wants
page-aligned buffers.  So each thread makes its buffers once, here.
"""

import ctypes
import mmap
from collections.abc import Iterator

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


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed up to 32 MiB, instead of giving it back and touching it anew.

    Compressors return fresh `bytes` of up to a chunk; without this each is an mmap, page faults and a munmap.
    Where the C library has no mallopt nothing happens.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
