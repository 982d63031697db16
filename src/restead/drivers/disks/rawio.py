"""Moving bytes between memory and an open file or device: all of them, or an OSError.

A disk is read and written in one of two ways, chosen when it is opened and never mixed:

- `Buffered`: through the page cache.
- `Direct`: past it (O_DIRECT), in whole pages; what is not aligned goes through an aligned buffer, and a page that is
  written in part is read, changed and written back under a lock.  Nothing of it is ever dirty in the page cache, so
  there is nothing to keep coherent, and what is read back comes from the disk.
"""

import errno
import mmap
import os
import threading
from typing import Protocol

PAGE = max(4096, mmap.PAGESIZE)  # bytes; a multiple of every sector size, and what the kernel caches by
_BOUNCE = 1 << 20  # bytes of each thread's aligned buffer
_MOST = 1 << 30  # bytes in one call; Linux moves at most 2**31 - 4096


class RawIo(Protocol):
    """Reads and writes at an offset, for many threads at once."""

    def read(self, offset: int, view: memoryview) -> None:
        """Fill *view* from *offset* on.  Raises OSError, EOFError if the disk ends before."""
        ...

    def write(self, offset: int, view: memoryview) -> None:
        """Write all of *view* at *offset*.  Raises OSError."""
        ...


class Buffered:
    """Through the page cache."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, offset: int, view: memoryview) -> None:
        _read_all(self._fd, offset, view)

    def write(self, offset: int, view: memoryview) -> None:
        _write_all(self._fd, offset, view)


class Direct:
    """Past the page cache; the disk's size must be a multiple of PAGE."""

    def __init__(self, fd: int) -> None:
        self._fd = fd  # open with O_DIRECT
        self._parts = threading.Lock()  # held while a page is changed in part
        self._local = threading.local()

    def read(self, offset: int, view: memoryview) -> None:
        for at, part, whole in _pieces(offset, view):
            if not (whole and self._tried(_read_all, at, part)):
                self._read_by_bounce(at, part)

    def write(self, offset: int, view: memoryview) -> None:
        for at, part, whole in _pieces(offset, view):
            if not whole:
                self._change(at, part)
            elif not self._tried(_write_all, at, part):
                for start in range(0, len(part), _BOUNCE):
                    piece = part[start : start + _BOUNCE]
                    bounce = self._bounce()[: len(piece)]
                    bounce[:] = piece
                    _write_all(self._fd, at + start, bounce)

    def _tried(self, move: "_Move", at: int, part: memoryview) -> bool:
        """Move the bytes without a copy; tell whether the kernel took the buffer as it is aligned."""
        try:
            move(self._fd, at, part)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False
            raise
        return True

    def _read_by_bounce(self, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            start = (offset + done) // PAGE * PAGE
            skip = offset + done - start
            wanted = min(len(view) - done, _BOUNCE - skip)
            bounce = self._bounce()[: _up(skip + wanted)]
            _read_all(self._fd, start, bounce)
            view[done : done + wanted] = bounce[skip : skip + wanted]
            done += wanted

    def _change(self, offset: int, part: memoryview) -> None:
        start = offset // PAGE * PAGE
        bounce = self._bounce()[: _up(offset - start + len(part))]
        with self._parts:
            _read_all(self._fd, start, bounce)
            bounce[offset - start : offset - start + len(part)] = part
            _write_all(self._fd, start, bounce)

    def _bounce(self) -> memoryview:
        view: memoryview | None = getattr(self._local, "view", None)
        if view is None:
            view = self._local.view = memoryview(mmap.mmap(-1, _BOUNCE))
        return view


class PastCaches:
    """Reads what the medium holds: past the page cache where *direct* can, else after asking it to forget.

    What is dirty in the page cache is written before a direct read, and is not forgotten: flush before.
    """

    def __init__(self, fd: int, direct: Direct | None, size: int) -> None:
        self._fd = fd  # without O_DIRECT
        self._direct = direct
        self._whole = size // PAGE * PAGE if direct else 0  # bytes that are whole pages

    def read(self, offset: int, view: memoryview) -> None:
        """As `RawIo.read`."""
        front = max(0, min(len(view), self._whole - offset))
        if self._direct and front:
            self._direct.read(offset, view[:front])
        if front < len(view):
            start, end = (offset + front) // PAGE * PAGE, _up(offset + len(view))
            os.posix_fadvise(self._fd, start, end - start, os.POSIX_FADV_DONTNEED)
            _read_all(self._fd, offset + front, view[front:])


class _Move(Protocol):
    def __call__(self, fd: int, offset: int, view: memoryview) -> None: ...


def _pieces(offset: int, view: memoryview) -> list[tuple[int, memoryview, bool]]:
    """Cut a stretch into (offset, part, whether it is whole pages): head, middle and tail, where there are any."""
    head = min(-offset % PAGE, len(view))
    tail = (len(view) - head) % PAGE
    cuts = [(0, head, False), (head, len(view) - tail, True), (len(view) - tail, len(view), False)]
    return [(offset + start, view[start:end], whole) for start, end, whole in cuts if end > start]


def _up(length: int) -> int:
    return -(-length // PAGE) * PAGE


def _read_all(fd: int, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done : done + _MOST]], offset + done)
        if count == 0:
            raise EOFError(f"ends at {offset + done}, {len(view) - done} bytes before the end of what was asked for")
        done += count


def _write_all(fd: int, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = os.pwritev(fd, [view[done : done + _MOST]], offset + done)
        if count == 0:
            raise OSError(errno.EIO, "wrote 0 bytes")
        done += count
