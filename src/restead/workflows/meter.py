"""Progress: what many threads report, folded into few rows and events."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from restead.repository import Progress

_SECONDS = 1.0  # *told* is called at most once in this time


@dataclass(frozen=True, slots=True)
class Reading:
    """How far everything is."""

    done: int  # bytes
    total: int  # bytes
    seconds: float  # since the meter was made
    moved: bool = True  # whether the percentage is another than at the last reading: worth an event

    @property
    def percent(self) -> int:
        """0-100; 100 only when all is done."""
        return self.done * 100 // self.total if self.total else 100

    @property
    def bytes_per_second(self) -> int:
        return int(self.done / self.seconds) if self.seconds > 0 else 0

    @property
    def seconds_left(self) -> int | None:
        rate = self.bytes_per_second
        return -(-(self.total - self.done) // rate) if rate else None


class Meter:
    """Adds up the disks of one run and tells *told* now and then.

    `update` may be called from any thread and returns at once unless a second has passed.
    """

    def __init__(self, sizes: Sequence[int], told: Callable[[Reading], None]) -> None:
        self._sizes = list(sizes)
        self._done = [0] * len(sizes)
        self._told = told
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._next = self._began + _SECONDS
        self._percent = -1

    def update(self, place: int, done: int) -> None:
        """Say that *done* bytes of the disk at *place* need nothing more."""
        self._done[place] = done
        if time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            self._next = time.monotonic() + _SECONDS
            reading = self.reading()
            self._told(replace(reading, moved=reading.percent != self._percent))
            self._percent = reading.percent
        finally:
            self._lock.release()

    def reading(self) -> Reading:
        return Reading(sum(self._done), sum(self._sizes), time.monotonic() - self._began)

    def percents(self) -> list[int]:
        """Return percent done for each disk."""
        return [done * 100 // size if size else 100 for done, size in zip(self._done, self._sizes, strict=True)]


def update(meter: Meter, place: int, progress: Progress) -> None:
    """Say how far the repository is with the disk at *place*."""
    meter.update(place, progress.done)
