"""Old entries of the operation log go, and what was noted of times of schedules that are long over."""

from collections.abc import Callable
from datetime import timedelta

from restead.records import Records, operations, policies

_TIMES_KEPT = timedelta(days=400)  # further back no clock is expected to be set


class LogRetention:
    """Forgets what is old; call it now and then."""

    def __init__(self, records: Records, keep: timedelta) -> None:
        """*keep*: how long entries of the operation log that have ended are kept."""
        self._records = records
        self._keep = keep

    def __call__(self, check: Callable[[], None]) -> None:
        check()
        with self._records.begin() as tx:
            operations.forget_before(tx, tx.now - self._keep)
            policies.forget_times_before(tx, tx.now - _TIMES_KEPT)
