"""A target disk, watched: no write without a lease, and it is known what has been written."""

import threading
from collections.abc import Callable, Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import BlockTarget, Buffer

_MOST_RANGES = 1000  # what a row and an answer can carry


class WatchedTarget:
    """A BlockTarget that asks *check* before each write and calls *first* once before the very first.

    *first* makes it durable that the disk is being written: a disk that no row says so of holds what it held.
    """

    def __init__(self, target: BlockTarget, *, check: Callable[[], None], first: Callable[[], None]) -> None:
        self._target = target
        self._check = check
        self._first = first
        self._lock = threading.Lock()
        self._written: list[tuple[int, int]] = []  # (offset, end), sorted, apart
        self.begun = False
        self.failed = False  # a write or a flush did not succeed: nothing is known of the disk

    @property
    def size(self) -> int:
        return self._target.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._target.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._target.extents(offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        self._before_write()
        self._attempt(lambda: self._target.write_at(offset, data))
        self._note(offset, memoryview(data).nbytes)

    def zero_at(self, offset: int, length: int) -> None:
        self._before_write()
        self._attempt(lambda: self._target.zero_at(offset, length))
        self._note(offset, length)

    def flush(self) -> None:
        self._attempt(self._target.flush)

    def doubtful(self) -> tuple[tuple[int, int], ...]:
        """Return (offset, length) of what may not hold what it should: all that was not written and flushed."""
        if not self.failed:
            try:
                self.flush()
            except Unavailable:
                pass  # then all of it is doubtful, which `failed` says now
        if self.failed:
            return ((0, self.size),)
        return _gaps(self._written, self.size)

    def _before_write(self) -> None:
        self._check()
        if not self.begun:
            with self._lock:
                if not self.begun:
                    self._first()
                    self.begun = True

    def _attempt(self, do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException:
            self.failed = True
            raise

    def _note(self, offset: int, length: int) -> None:
        with self._lock:
            self._written = _joined(self._written, offset, offset + length)


def _joined(stretches: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return sorted stretches that are apart, with one more.  Few at a time: writers go along the disk together."""
    apart = [stretch for stretch in stretches if stretch[1] < start or stretch[0] > end]
    touching = [stretch for stretch in stretches if not (stretch[1] < start or stretch[0] > end)]
    joined = (min([start, *(s for s, _ in touching)]), max([end, *(e for _, e in touching)]))
    return sorted([*apart, joined])


def _gaps(stretches: list[tuple[int, int]], size: int) -> tuple[tuple[int, int], ...]:
    edges = [0, *(edge for stretch in stretches for edge in stretch), size]
    gaps = [(start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]
    if len(gaps) > _MOST_RANGES:
        start = gaps[_MOST_RANGES - 1][0]
        gaps[_MOST_RANGES - 1 :] = [(start, size - start)]
    return tuple(gaps)
