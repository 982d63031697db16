"""How far a disk that is being written is safely done.

Threads take places in disk order and finish them in any order.  A mark says: everything before this offset is done
and on stable storage.  It is told only after a flush that began when all of that had been written.
"""

from collections.abc import Callable
from threading import Lock
from time import monotonic

from restead.domain.errors import ResteadError, Unavailable

SECONDS = 0.9  # between two marks


class Marks:
    """The marks of one disk, for any number of threads.

    *most*: bytes written since the last flush at which everybody waits for the next; at two thirds of it somebody
    flushes while the others go on.  What was written beyond the mark is that, and what threads are in the middle of.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        tell: Callable[[int], None],
        most: int,
        *,
        after: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """*after*: up to where an earlier life has marked."""
        self._flush = flush
        self._tell = tell
        self._most = most
        self._clock = clock
        self._busy: set[int] = set()
        self._reached = 0
        self._marked = after
        self._unmarked = 0  # bytes written since the flush behind the last mark began
        self._since = clock()
        self._broken = ""  # why no flush is believed any more
        self._lock = Lock()
        self._settling = Lock()

    def begin(self, offset: int, end: int) -> None:
        """Say that somebody takes the place from *offset* to *end*; places come in disk order."""
        with self._lock:
            self._busy.add(offset)
            self._reached = end

    def reach(self, end: int) -> None:
        """Say that up to *end* nothing is left to be taken."""
        with self._lock:
            self._reached = end

    def done(self, offset: int) -> None:
        """Say that all of the place that began at *offset* was written; flush if it is time."""
        with self._lock:
            self._busy.discard(offset)
            late = self._clock() - self._since >= SECONDS
            due = self._unmarked and (late or self._unmarked >= self._most * 2 // 3)
        if due and self._settling.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._settling.release()

    def about_to_write(self, length: int) -> None:
        """Return when so many bytes may be written without losing too much in a crash."""
        with self._lock:
            full = self._unmarked and self._unmarked + length > self._most
        if full:
            self.settle()
        with self._lock:
            self._unmarked += length

    def settle(self) -> None:
        """Flush and mark now.

        Raises:
            Unavailable: the flush failed, or one before it did: a second one would succeed and prove nothing.
        """
        with self._settling:
            self._settle()

    def _settle(self) -> None:
        if self._broken:
            raise Unavailable(self._broken)
        with self._lock:
            low, written = min(self._busy, default=self._reached), self._unmarked
        self._broken = "the disk could not be flushed before: what it holds is unknown"
        try:
            self._flush()
        except ResteadError as error:
            self._broken = error.message
            raise
        self._broken = ""
        if low > self._marked:
            self._tell(low)
            self._marked = low
        with self._lock:
            self._unmarked -= written
            self._since = self._clock()
