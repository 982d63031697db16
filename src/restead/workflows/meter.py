"""Progress: what many threads report, folded into few rows and events."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from restead.repository import Progress
from restead.workflows.speed import Speed

_SECONDS = 1.0  # *told* is called at most once in this time


@dataclass(frozen=True, slots=True)
class Reading:
    """How far everything is."""

    done: int  # bytes
    total: int  # bytes
    seconds: float  # since the meter was made
    moved: bool = True  # whether the percentage is another than at the last reading: worth an event
    seconds_left: int | None = None  # as fast as it went lately; None: nobody knows

    @property
    def percent(self) -> int:
        """0-100; 100 only when all is done."""
        return self.done * 100 // self.total if self.total else 100

    @property
    def bytes_per_second(self) -> int:
        return int(self.done / self.seconds) if self.seconds > 0 else 0


class Meter:
    """Adds up the disks of one run and tells *told* now and then.

    `update` may be called from any thread and returns at once unless a second has passed.
    """

    def __init__(
        self, sizes: Sequence[int], told: Callable[[Reading], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes = list(sizes)
        self._done = [0] * len(sizes)
        self._told = told
        self._lock = threading.Lock()
        self._clock = clock
        self._began = clock()
        self._speed = Speed(self._began)
        self._next = self._began + _SECONDS
        self._percent = -1

    def update(self, place: int, done: int) -> None:
        """Say that *done* bytes of the disk at *place* need nothing more."""
        self._done[place] = done
        if self._clock() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            self._next = self._clock() + _SECONDS
            self._speed.note(self._clock(), sum(self._done))
            reading = self.reading()
            self._told(replace(reading, moved=reading.percent != self._percent))
            self._percent = reading.percent
        finally:
            self._lock.release()

    def reading(self) -> Reading:
        done, total, now = sum(self._done), sum(self._sizes), self._clock()
        return Reading(done, total, now - self._began, seconds_left=self._speed.seconds_left(now, done, total))

    def percents(self) -> list[int]:
        """Return percent done for each disk."""
        return [done * 100 // size if size else 100 for done, size in zip(self._done, self._sizes, strict=True)]


def update(meter: Meter, place: int, progress: Progress) -> None:
    """Say how far the repository is with the disk at *place*."""
    meter.update(place, progress.done)
