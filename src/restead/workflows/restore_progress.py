"""How far a restore is: what is still to be compared and written on all disks, folded into few rows and events."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from restead.domain.restore import RestoreStats
from restead.repository import Progress
from restead.workflows.speed import Speed

_SECONDS = 1.0  # *told* is called at most once in this time


@dataclass(slots=True)
class _Work:
    """What there is to do on one disk, in bytes, and how much of it is done."""

    size: int  # of the disk
    compared: int = 0
    differing: int | None = None  # None: not known before all is compared
    new: int = 0  # found so far that surely differs
    checked: int = 0
    written: int = 0
    reread: int = 0
    to_reread: int = 0
    to_compare: int = 0  # all of it from the start: not all disks are begun at once

    @property
    def total(self) -> int:
        """What is to be done on it, expected where it is not known yet."""
        differing = self.differing
        if differing is None:
            differing = self.new * self.size // self.compared if self.compared else 0
        return self.to_compare + 2 * differing + self.to_reread  # what differs is fetched and checked, then written

    @property
    def done(self) -> int:
        return min(self.total, self.compared + self.checked + self.written + self.reread)

    @property
    def percent(self) -> int:
        return self.done * 100 // self.total if self.total else 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How far all disks are."""

    done: int
    total: int
    percent: int  # of a restore that goes forward it never falls
    percents: Sequence[int]  # for each disk
    stats: RestoreStats
    moved: bool  # whether the percentage is another than at the last reading: worth an event


@dataclass(slots=True)
class _Counted:
    """What has been done to one disk by this life of the run."""

    kept: int | None = None  # None: this life has not compared it
    written: int = 0
    zeroed: int = 0
    fetched: int = 0
    saved: int = 0


@dataclass
class RestoreProgress:
    """Adds up what the disks of one restore report, from any thread, and tells *told* now and then."""

    sizes: Sequence[int]  # of the target disks
    before: RestoreStats  # what earlier lives of the run have done
    told: Callable[[Reading], None]
    clock: Callable[[], float] = time.monotonic
    readback: bool = False  # whether all disks are read again in the end

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._speed = Speed(self._began)
        self._works = [_Work(size, to_compare=size, to_reread=size * self.readback) for size in self.sizes]
        self._counted = [_Counted() for _ in self.sizes]
        self._lock = threading.Lock()
        self._next = self._began + _SECONDS
        self._percent = -1
        self._highest = 0

    def comparing(self, ordinal: int, progress: Progress) -> None:
        work = self._works[ordinal]
        work.compared, work.new = progress.done, progress.count.new
        self._tell()

    def compared(self, ordinal: int, differing: int, saved: int) -> None:
        """Say that a disk is compared: so many bytes of it differ, and so many were new to the repository."""
        work = self._works[ordinal]
        work.compared, work.differing = work.size, differing
        counted = self._counted[ordinal]
        counted.kept, counted.saved = work.size - differing, saved

    def checking(self, ordinal: int, progress: Progress) -> None:
        work = self._works[ordinal]
        work.checked = _share(progress, work.differing)
        self._counted[ordinal].fetched = progress.count.read
        self._tell()

    def taken_up(self, ordinal: int) -> None:
        """Say that an earlier life has compared a disk, and that this one goes on writing."""
        work = self._works[ordinal]
        work.to_compare = work.compared = 0
        work.differing = work.checked = work.size
        self._speed.restart(self.clock(), self._sum()[0])  # that was another life's work

    def writing(self, ordinal: int, progress: Progress, fetched_before: int = 0) -> None:
        work, counted = self._works[ordinal], self._counted[ordinal]
        work.written = _share(progress, work.differing)
        counted.written, counted.zeroed = progress.count.written, progress.count.zero
        counted.fetched = fetched_before + progress.count.read
        self._tell()

    def rereading(self, ordinal: int, progress: Progress) -> None:
        work = self._works[ordinal]
        work.to_reread, work.reread = work.size, progress.done
        self._tell()

    def fetched(self, ordinal: int) -> int:
        """Return the bytes of the repository read for a disk so far."""
        return self._counted[ordinal].fetched

    def putting_back(self, begun: Collection[int]) -> None:
        """Begin anew: from here on what is told is how far putting back these disks is."""
        for ordinal, work in enumerate(self._works):
            work.to_compare = work.compared = work.checked = work.written = work.to_reread = work.reread = 0
            # Of two times the half: each byte once.
            work.differing = work.size // 2 if ordinal in begun else 0
        self._highest, self._percent = 0, -1
        self._began = self.clock()
        self._speed.restart(self._began, 0)

    def put_back(self, ordinal: int, progress: Progress) -> None:
        self._works[ordinal].written = progress.done
        self._tell()

    @property
    def seconds(self) -> float:
        return max(self.clock() - self._began, 1e-6)

    def reading(self) -> Reading:
        done, total = self._sum()
        left = self._speed.seconds_left(self.clock(), done, total)
        self._highest = max(self._highest, done * 100 // total if total else 0)
        stats = replace(self._stats(), seconds_left=left, bytes_per_second=int(done / self.seconds))
        percents = [work.percent for work in self._works]
        return Reading(done, total, min(self._highest, 99), percents, stats, self._highest != self._percent)

    def _sum(self) -> tuple[int, int]:
        """Return what is done on all disks, and what there is to do."""
        return sum(work.done for work in self._works), sum(work.total for work in self._works)

    def _stats(self) -> RestoreStats:
        before = self.before
        kept = [one.kept for one in self._counted if one.kept is not None]
        written = before.written + sum(one.written for one in self._counted)
        zeroed = before.zeroed + sum(one.zeroed for one in self._counted)
        return replace(
            before,
            kept=sum(kept) if kept else before.kept,
            written=written,
            zeroed=zeroed,
            fetched=before.fetched + sum(one.fetched for one in self._counted),
            saved=before.saved + sum(one.saved for one in self._counted),
        )

    def _tell(self) -> None:
        if self.clock() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            self._next = self.clock() + _SECONDS
            self._speed.note(self.clock(), self._sum()[0])
            reading = self.reading()
            self.told(reading)
            self._percent = self._highest
        finally:
            self._lock.release()


def _share(progress: Progress, differing: int | None) -> int:
    """Return how much of what differs a disk's progress stands for: it counts what is passed over, too."""
    whole = differing or 0
    return progress.done * whole // progress.total if progress.total else whole
