"""A clock that jumps: what is removed for its age stays until the new time is believed.

The wall clock is compared with the one that counts seconds since the machine started, which nobody sets.  A service
that is started while the clock is wrong has nothing to compare it with.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from restead.records import utc_now

log = structlog.get_logger()

_EVEN = 3600.0  # seconds that the clock may be set by between two looks: more than corrections, less than mistakes
_BELIEVED = 86400.0  # seconds after which a new time is believed: somebody meant it


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


class Jumps:
    """Tells whether the clock has jumped; any number of threads."""

    def __init__(self, now: Callable[[], datetime] = utc_now, seconds: Callable[[], float] = _uptime) -> None:
        self._now = now
        self._seconds = seconds
        self._lock = threading.Lock()
        self._believed = self._gap()
        self._jumped: tuple[float, float] | None = None  # the gap since then, and since when

    def even(self, chore: Callable[[Callable[[], None]], None]) -> Callable[[Callable[[], None]], None]:
        """Return *chore*, left out while the clock's time is not believed."""
        return lambda check: None if self.warnings() else chore(check)

    def warnings(self) -> Sequence[str]:
        """Return what an operator should know: nothing while the clock goes evenly."""
        with self._lock:
            gap, at = self._gap(), self._seconds()
            if self._jumped and abs(gap - self._jumped[0]) <= _EVEN and at - self._jumped[1] >= _BELIEVED:
                log.info("the clock's new time is believed", seconds=round(gap - self._believed))
                self._believed = gap
            if abs(gap - self._believed) <= _EVEN:
                self._believed, self._jumped = gap, None  # slow corrections add up
                return []
            said = (
                f"the clock has jumped by {timedelta(seconds=round(abs(gap - self._believed)))} "
                f"{'forward' if gap > self._believed else 'back'}: nothing is removed for its age until it is set "
                "right, or has gone on so for a day"
            )
            if self._jumped is None or abs(gap - self._jumped[0]) > _EVEN:
                self._jumped = gap, at
                log.warning(said)
            return [said]

    def _gap(self) -> float:
        return self._now().timestamp() - self._seconds()
