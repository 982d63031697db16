"""A target disk, watched: no write without a lease, none before a row says so, none faster than allowed."""

import threading
from collections.abc import Callable, Iterable, Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import BlockTarget, Buffer, KeepsSpace, LimitsSpace, ReadsPastCaches

_PIECE = 1 << 20  # bytes of zeroes written, or looked at, at once where a disk cannot keep space by itself
_ZEROES = bytes(_PIECE)


class WatchedTarget:
    """A BlockTarget, with its disk's abilities as far as that has them, that keeps the rules of a restore.

    *check* is asked before each write, *spend* before bytes are read or written.  *first* is called once before the
    very first write: it makes it durable that the disk is being written.  A disk that no row says so of holds what it
    held.

    A disk that does not keep space gets its zeroes written, so that what has been overwritten finds its place again
    when it is put back; what is a hole stays one, and nothing can be reserved.
    """

    def __init__(
        self,
        target: BlockTarget,
        *,
        check: Callable[[], None],
        first: Callable[[], None],
        spend: Callable[[int], None],
    ) -> None:
        self._target = target
        self._check = check
        self._first = first
        self._spend = spend
        self._lock = threading.Lock()
        self.past_caches = False  # what lies in memory is not believed: a flush has failed once
        self.begun = False
        self.failed = False  # a write or a flush did not succeed: nothing is known of the disk

    @property
    def size(self) -> int:
        return self._target.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self.past_caches:
            self.reread_into(offset, buffer)
        else:
            self._spend(buffer.nbytes)
            self._target.read_into(offset, buffer)

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        self._spend(buffer.nbytes)
        if isinstance(self._target, ReadsPastCaches):
            self._target.reread_into(offset, buffer)
        else:
            self._target.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._target.extents(offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        self._before_write(memoryview(data).nbytes)
        self._attempt(lambda: self._target.write_at(offset, data))

    def zero_at(self, offset: int, length: int) -> None:
        self._before_write(0)
        self._attempt(lambda: self._target.zero_at(offset, length))

    def blank_at(self, offset: int, length: int) -> None:
        if not isinstance(self._target, KeepsSpace):
            for at, part in self._data(offset, length):
                self.write_at(at, _ZEROES[:part])
            return
        disk = self._target
        self._before_write(0)
        self._attempt(lambda: disk.blank_at(offset, length))

    def reserve(self, offset: int, length: int) -> None:
        self._check()
        if isinstance(self._target, KeepsSpace):
            self._target.reserve(offset, length)

    @property
    def limited(self) -> bool:
        return isinstance(self._target, LimitsSpace) and self._target.limited

    def require_room(self, stretches: Iterable[tuple[int, int]]) -> None:
        if isinstance(self._target, LimitsSpace):
            self._target.require_room(stretches)

    def punch(self, offset: int, length: int) -> None:
        if isinstance(self._target, KeepsSpace):
            self._target.punch(offset, length)
            return
        for at, part in self._data(offset, length):
            buffer = bytearray(part)
            self._target.read_into(at, memoryview(buffer))
            if buffer != _ZEROES[:part]:
                raise Unavailable(f"{part} bytes at {at} are not zero; their space is kept")
            self._target.zero_at(at, part)

    def flush(self) -> None:
        self._attempt(self._target.flush)

    def _data(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of pieces that may hold data."""
        for extent in self.extents(offset, length):
            if extent.data:
                for at in range(extent.offset, extent.end, _PIECE):
                    yield at, min(_PIECE, extent.end - at)

    def _before_write(self, length: int) -> None:
        self._spend(length)
        self._check()  # after the waiting: a lease may have been lost in it
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
