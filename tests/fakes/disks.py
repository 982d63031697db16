"""A disk in memory, as a source and as a target: honest about holes, and it writes down what was done to it."""

import threading
from collections.abc import Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import Buffer


class MemoryDisk:
    """A disk of *size* bytes that stores only blocks which were written and not zeroed since.

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
