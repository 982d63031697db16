"""Numbers of work under way: counted by each thread for itself, added up when somebody asks."""

from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Count:
    """What one thread, or all of them, have done.  All in bytes of disk, unless it says otherwise."""

    read: int = 0  # read from the source or fetched for the target
    zero: int = 0  # found to be zero, or made zero
    deduplicated: int = 0  # known already, not stored again
    new: int = 0
    stored: int = 0  # bytes put into the store: sealed, compressed
    written: int = 0  # bytes written to the target
    kept: int = 0  # already right on the target


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a disk is."""

    done: int  # bytes of the disk that need nothing more
    total: int  # bytes of the disk
    count: Count


class Report:
    """Adds up what the threads count and passes it on."""

    def __init__(self, threads: int, total: int, tell: Callable[[Progress], None]) -> None:
        self.counts = [Count() for _ in range(threads)]
        self._done = [0] * threads
        self._total = total
        self._tell = tell

    def done(self, thread: int, length: int) -> None:
        """Say that one thread has finished *length* bytes of the disk."""
        self._done[thread] += length
        self._tell(Progress(min(sum(self._done), self._total), self._total, self.sum()))

    def sum(self) -> Count:
        """Return what all threads have done so far."""
        return Count(*(sum(getattr(count, f.name) for count in self.counts) for f in fields(Count)))
