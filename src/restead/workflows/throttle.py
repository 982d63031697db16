"""How fast restores may go: a bucket of bytes for each, and one for all of them together."""

import threading
import time
from collections.abc import Callable

_SLICE = 0.2  # seconds that somebody sleeps at once: then the rate may be another, or the work given up
_BURST = 0.5  # seconds' worth of bytes that a bucket holds at most


class Throttle:
    """A bucket that fills at a rate which may be set at any time, for any number of threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._rate: int | None = None
        self._left = 0.0  # bytes; below zero: what was taken in advance
        self._at = clock()

    def set(self, bytes_per_second: int | None) -> None:
        """Let so many bytes through in each second from now on; None: all."""
        with self._lock:
            if bytes_per_second != self._rate:
                self._rate, self._left, self._at = bytes_per_second, 0.0, self._clock()

    def take(self, length: int, check: Callable[[], None]) -> None:
        """Return when *length* bytes may go through; *check* is called while waiting and ends it by raising."""
        with self._lock:
            self._fill()
            self._left -= length
        while (seconds := self._debt()) > 0:
            check()
            self._sleep(min(seconds, _SLICE))

    def _debt(self) -> float:
        """Return how many seconds it takes until nothing is owed."""
        with self._lock:
            self._fill()
            return 0.0 if self._rate is None else -self._left / self._rate

    def _fill(self) -> None:
        now = self._clock()
        if self._rate is None:
            self._left = 0.0
        else:
            self._left = min(self._left + (now - self._at) * self._rate, self._rate * _BURST)
        self._at = now
