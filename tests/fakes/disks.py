"""Disks in memory and in files, as sources and as targets, honest about their holes."""

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import Buffer


class MemoryDisk:
    """A disk of *size* bytes that stores only blocks which were written and not zeroed since; it notes what was done.

    *block*: its granularity of holes, bytes.  *all_data*: it does not know holes, as block devices do not.
    """

    def __init__(self, size: int, *, block: int = 512, all_data: bool = False) -> None:
        self._size = size
        self._block = block
        self._all_data = all_data
        self._blocks: dict[int, bytearray] = {}
        self._lock = threading.RLock()
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.zeroed: list[tuple[int, int]] = []
        self.blanked: list[tuple[int, int]] = []
        self.reserved: list[tuple[int, int]] = []
        self.punched: list[tuple[int, int]] = []
        self.rotten: dict[int, int] = {}  # offset to byte: what the medium holds instead of what lies in memory
        self.flushed = True
        self.fail_at: int | None = None  # an offset that cannot be read or written

    @classmethod
    def of(cls, data: bytes, *, block: int = 512, all_data: bool = False) -> "MemoryDisk":
        """Return a disk that holds *data*; pieces that are zero are holes."""
        disk = cls(len(data), block=block, all_data=all_data)
        for at in range(0, len(data), block):
            piece = data[at : at + block]
            if any(piece):
                disk._blocks[at // block] = bytearray(piece.ljust(block, b"\0"))
        return disk

    @property
    def size(self) -> int:
        return self._size

    @property
    def data(self) -> bytes:
        whole = bytearray(self._size)
        for index, piece in self._blocks.items():
            at = index * self._block
            whole[at : at + self._block] = piece[: self._size - at]
        return bytes(whole)

    def resize(self, size: int) -> None:
        """Grow with zeroes, or cut."""
        kept = self.data[:size]
        self._blocks = MemoryDisk.of(kept, block=self._block)._blocks
        self._size = size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._inside(offset, len(buffer), "read")
        with self._lock:
            self.reads.append((offset, len(buffer)))
            for index, start, length, at in self._pieces(offset, len(buffer)):
                piece = self._blocks.get(index)
                buffer[at : at + length] = bytes(length) if piece is None else piece[start : start + length]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._inside(offset, length, "look at")
        at, end = offset, offset + length
        while at < end:
            data = self._is_data(at)
            stop = self._boundary(at, end, data)
            yield Extent(at, stop - at, data)
            at = stop

    def write_at(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        self._inside(offset, len(view), "write")
        with self._lock:
            self.flushed = False
            self.writes.append((offset, len(view)))
            for index, start, length, at in self._pieces(offset, len(view)):
                piece = self._blocks.setdefault(index, bytearray(self._block))
                piece[start : start + length] = view[at : at + length]

    def zero_at(self, offset: int, length: int) -> None:
        self._inside(offset, length, "zero")
        with self._lock:
            self.flushed = False
            self.zeroed.append((offset, length))
            for index, start, part, _ in self._pieces(offset, length):
                piece = self._blocks.get(index)
                if piece is not None and part < self._block:
                    piece[start : start + part] = bytes(part)
                elif piece is not None:
                    del self._blocks[index]

    def blank_at(self, offset: int, length: int) -> None:
        """As `zero_at`; blocks that were stored stay so."""
        self._inside(offset, length, "blank")
        with self._lock:
            self.flushed = False
            self.blanked.append((offset, length))
            for index, start, part, _ in self._pieces(offset, length):
                if index in self._blocks:
                    self._blocks[index][start : start + part] = bytes(part)

    def reserve(self, offset: int, length: int) -> None:
        self._inside(offset, length, "reserve")
        with self._lock:
            self.reserved.append((offset, length))
            for index, _, _, _ in self._pieces(offset, length):
                self._blocks.setdefault(index, bytearray(self._block))

    def punch(self, offset: int, length: int) -> None:
        self._inside(offset, length, "punch")
        with self._lock:
            self.punched.append((offset, length))
            if any(self.data[offset : offset + length]):
                raise Unavailable(f"{length} bytes at {offset} are not zero")
            for index, _, part, _ in self._pieces(offset, length):
                if part == self._block:
                    self._blocks.pop(index, None)

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        """As `read_into`, with what is `rotten`."""
        self.read_into(offset, buffer)
        for at, byte in self.rotten.items():
            if offset <= at < offset + len(buffer):
                buffer[at - offset] = byte

    def flush(self) -> None:
        self.flushed = True

    def _is_data(self, at: int) -> bool:
        return self._all_data or at // self._block in self._blocks

    def _boundary(self, at: int, end: int, data: bool) -> int:
        if self._all_data:
            return end
        if data:
            stop = at // self._block
            while stop in self._blocks and stop * self._block < end:
                stop += 1
            return min(end, stop * self._block)
        with self._lock:
            after = [index for index in self._blocks if index * self._block > at]
        return min(end, min(after, default=end) * self._block)

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (block, start in it, length, position in the request)."""
        at = 0
        while at < length:
            index, start = divmod(offset + at, self._block)
            part = min(self._block - start, length - at)
            yield index, start, part, at
            at += part

    def _inside(self, offset: int, length: int, what: str) -> None:
        if offset < 0 or offset + length > self._size:
            raise ValueError(f"cannot {what} {length} bytes at {offset} of {self._size}")
        if self.fail_at is not None and offset <= self.fail_at < offset + length:
            raise Unavailable(f"cannot {what} {length} bytes at {offset}: I/O error")


class FileDisk:
    """A disk that is a file, with the file system's own idea of holes."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._path = path
        if size is not None:
            os.ftruncate(self._fd, size)

    def close(self) -> None:
        os.close(self._fd)

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    @property
    def data(self) -> bytes:
        return self._path.read_bytes()

    def resize(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        count = os.preadv(self._fd, [buffer], offset)
        if count != len(buffer):
            raise Unavailable(f"read {count} bytes at {offset}, {len(buffer)} wanted")

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)  # seeking moves a position: not the shared one
        try:
            at, end = offset, offset + length
            while at < end:
                data = min(end, _seek(fd, at, os.SEEK_DATA, end))
                if data > at:
                    yield Extent(at, data - at, False)
                hole = min(end, _seek(fd, data, os.SEEK_HOLE, end)) if data < end else end
                if hole > data:
                    yield Extent(data, hole - data, True)
                at = hole
        finally:
            os.close(fd)

    def write_at(self, offset: int, data: Buffer) -> None:
        if offset + len(data) > self.size:
            raise ValueError(f"cannot write {len(data)} bytes at {offset} of {self.size}")
        if os.pwrite(self._fd, data, offset) != len(data):
            raise Unavailable(f"wrote only a part of {len(data)} bytes at {offset}")

    def zero_at(self, offset: int, length: int) -> None:
        if offset + length > self.size:
            raise ValueError(f"cannot zero {length} bytes at {offset} of {self.size}")
        punch_hole_keep_size = 0x03
        if _libc.fallocate(self._fd, punch_hole_keep_size, ctypes.c_long(offset), ctypes.c_long(length)):
            os.pwrite(self._fd, bytes(length), offset)

    def flush(self) -> None:
        os.fdatasync(self._fd)


_libc = ctypes.CDLL(None, use_errno=True)


def _seek(fd: int, at: int, whence: int, end: int) -> int:
    try:
        return os.lseek(fd, at, whence)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end
