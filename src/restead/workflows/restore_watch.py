"""What people want of a restore while it runs: that it is given up, or goes slower."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from restead.domain.ids import RestoreId
from restead.records import Records, RecordsUnavailable, restores
from restead.workflows.story import DurableRun
from restead.workflows.throttle import Throttle
from restead.workflows.together import GivenUp


class Watch:
    """Asked before every write: whether the run is still our own, and nobody has cancelled it.

    The row is looked at by whoever asks first after *every*, so no thread is needed for it.
    """

    def __init__(
        self, records: Records, run: DurableRun, id: RestoreId, all_restores: Throttle, every: timedelta
    ) -> None:
        self._records = records
        self._run = run
        self._id = id
        self._all = all_restores
        self._every = every.total_seconds()
        self._own = Throttle()
        self._lock = threading.Lock()
        self._next = 0.0
        self._cancelled = False

    def check(self) -> None:
        """Return if the work may go on.  Raises GivenUp if it was cancelled; else as the run's `check`."""
        self.check_lease()
        if self._cancelled:
            raise GivenUp("cancelled")

    def check_lease(self) -> None:
        """As `check`, deaf to a cancel."""
        self._run.check()
        if time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            self._next = time.monotonic() + self._every
            self._look()
        finally:
            self._lock.release()

    def spend(self, length: int, check: Callable[[], None]) -> None:
        """Return when so many more bytes of a disk may be read or written; *check*, one of ours, is asked meanwhile."""
        self._own.take(length, check)
        self._all.take(length, check)

    def _look(self) -> None:
        try:
            with self._records.read() as tx:
                self._cancelled, own, together = restores.wishes(tx, self._id)
        except RecordsUnavailable:
            return  # the next look is soon
        self._own.set(own)
        self._all.set(together)
