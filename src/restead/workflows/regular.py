"""What is done again and again, and what is said of it: that it goes wrong once, and once that it goes well again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

import structlog

from restead.domain.errors import ResteadError, Unavailable
from restead.records import utc_now

log = structlog.get_logger()

Chore = Callable[[Callable[[], None]], None]
"""Something that is done now and then, for no caller.  It calls what it is given often: that ends it by raising."""

_FIRST_PAUSE = timedelta(seconds=10)
_SAID_AGAIN = 3600.0  # seconds


class Trouble:
    """Something that many meet, again and again: said when it begins, and when it is over.  Any number of threads."""

    def __init__(self, begins: str, over: str) -> None:
        self._begins = begins
        self._over = over
        self._lock = Lock()
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def meet(self, error: ResteadError) -> None:
        with self._lock:
            first, self._since = self._since is None, self._since or time.monotonic()
        (log.error if first else log.debug)(self._begins, reason=error.message, detail=error.detail)

    def end(self) -> None:
        if self._since is None:  # looked at without the lock: this is called all the time
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.info(self._over, seconds=round(time.monotonic() - since, 1))


@dataclass(slots=True)
class Regular:
    """A chore, and how it goes.  Only the thread that does it changes anything."""

    chore: Chore
    every: timedelta
    name: str = ""  # what people call it; without one only the log tells of it
    _failures: int = field(default=0, init=False)  # in a row
    _met: tuple[datetime, float, str] | None = field(default=None, init=False)  # since when, and why the last time
    _said: float = field(default=0.0, init=False)  # when the log told of it last, as monotonic time

    def went_well(self) -> timedelta:
        """Return when to do it again."""
        met, self._met, self._failures = self._met, None, 0
        if met is not None:
            log.info("a chore is done again", chore=self.name, seconds=round(time.monotonic() - met[1], 1))
        return self.every

    def failed(self, error: ResteadError) -> timedelta:
        """Return when to do it again."""
        now = time.monotonic()
        since = (utc_now(), now) if self._met is None else self._met[:2]
        loud = self._met is None or now - self._said >= _SAID_AGAIN
        self._met = (*since, error.message)
        if loud:
            self._said = now
        say = log.warning if loud else log.debug
        say("a chore is left for later", chore=self.name, reason=error.message, detail=error.detail)
        return self.later() if isinstance(error, Unavailable) else self.every

    def later(self) -> timedelta:
        """Return when to try again what may go well a moment later: soon, then ever more slowly."""
        pause: timedelta = _FIRST_PAUSE * 2 ** min(self._failures, 20)
        self._failures += 1
        return min(self.every, pause)

    @property
    def warning(self) -> str | None:
        """What an operator should know: None if it goes well, or nobody knows it by name."""
        met = self._met
        if met is None or not self.name:
            return None
        return f"{self.name} fails since {met[0]:%Y-%m-%d %H:%M} UTC and is tried again by itself: {met[2]}"
