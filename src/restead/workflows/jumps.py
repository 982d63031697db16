"""A clock that jumps: what is removed for its age stays until the new time is believed.

While the service runs the wall clock is compared with the one that counts seconds since the machine started, which
nobody sets.  At its start, with the last moment that the records know.  A clock that was set forward makes everything
old, so its time is believed only after it has gone on for a tenth of the jump: by years, for months, in which somebody
will look; after weeks in which nobody needed the service, for days.  One that was set back makes nothing old: a day is
enough; and what is known of the time stays, so that to set it right again is no jump.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import structlog

from restead.records import Records, moments, utc_now
from restead.records.moments import Moments

log = structlog.get_logger()

_DAY = 86400.0  # seconds
_EVEN = 3600.0  # seconds that the clock may be set by between two looks: more than corrections, less than mistakes
_AWAY = _DAY  # seconds for which a service may not have run before its start looks like a jump
_SHARE = 0.1  # of a jump forward: for so long the new time has to go on, and for a day at least


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


@dataclass(frozen=True, slots=True)
class _Other:
    """A time that the clock shows and that was not known."""

    gap: float
    at: float  # seconds, of the last look
    lived: float = 0.0  # seconds for which it has gone on
    believed: bool = False


class Jumps:
    """Tells whether the clock has jumped; any number of threads."""

    def __init__(
        self, known: Moments | None = None, now: Callable[[], datetime] = utc_now,
        seconds: Callable[[], float] = _uptime,
    ) -> None:  # fmt: skip
        """*known*: what the records know of the time; None: nothing, so the clock is believed."""
        self._now = now
        self._seconds = seconds
        self._lock = threading.Lock()
        gap, at = self._look()
        # A gap is what the clock is ahead of the seconds: it stays the same as long as nobody sets the clock.
        self._known, self._slack = gap, _EVEN
        self._other: _Other | None = None
        if known is not None:
            self._known, self._slack = known.newest.timestamp() - at, _AWAY
        if known is not None and known.at is not None and -_EVEN <= gap + at - known.at.timestamp() <= _AWAY:
            self._other = _Other(gap, at, known.lived)  # it has gone on so since

    def even(self, chore: Callable[[Callable[[], None]], None]) -> Callable[[Callable[[], None]], None]:
        """Return *chore*, left out while the clock's time is not believed."""

        def even(check: Callable[[], None]) -> None:
            if self.warnings():
                log.debug("a chore waits until the clock is believed")
            else:
                chore(check)

        return even

    def keeping(self, records: Records) -> Callable[[Callable[[], None]], None]:
        """Return the chore that lets the records know the time."""

        def keep(check: Callable[[], None]) -> None:
            check()
            with records.begin() as tx:
                moments.keep_moments(tx, self.moments())

        return keep

    def moments(self) -> Moments:
        """Return what is known of the time now."""
        with self._lock:
            self._consider()
            _, at = self._look()
            newest, other = datetime.fromtimestamp(self._known + at, UTC), self._other
            return Moments(newest) if other is None else Moments(newest, self._now(), other.lived)

    def warnings(self) -> Sequence[str]:
        """Return what an operator should know: nothing while the clock's time is believed."""
        with self._lock:
            self._consider()
            return [] if self._other is None or self._other.believed else [self._said(self._other)]

    def _consider(self) -> None:
        gap, at = self._look()
        if -_EVEN <= gap - self._known <= self._slack:
            self._believe(gap)  # slow corrections add up
            return
        other = self._other
        if other is None or abs(gap - other.gap) > _EVEN:
            self._other = _Other(gap, at)
            log.warning(self._said(self._other))
            return
        lived, forward = other.lived + at - other.at, gap > self._known
        believed = lived >= self._needed(gap)
        if believed and not other.believed:
            log.info("the clock's new time is believed", seconds=round(gap - self._known))
        if believed and forward:
            self._believe(gap)
        else:
            self._other = _Other(gap, at, lived, believed)

    def _believe(self, gap: float) -> None:
        self._known, self._slack, self._other = gap, _EVEN, None

    def _needed(self, gap: float) -> float:
        """Return for how many seconds that time has to go on until it is believed."""
        return max(_DAY, (gap - self._known) * _SHARE)

    def _said(self, other: _Other) -> str:
        jump, days = other.gap - self._known, ceil(self._needed(other.gap) / _DAY)
        return (
            f"the clock has jumped by {timedelta(seconds=round(abs(jump)))} {'forward' if jump > 0 else 'back'}: "
            f"nothing is removed for its age until it is set right, or has gone on so for "
            f"{'a day' if days == 1 else f'{days} days'}"
        )

    def _look(self) -> tuple[float, float]:
        at = self._seconds()
        return self._now().timestamp() - at, at
