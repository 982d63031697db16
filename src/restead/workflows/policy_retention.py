"""What policies do not keep any more goes, by an ordinary deletion; and old entries of the operation log go.

Looked at after every scheduled backup, and at least once a day.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from restead.domain.ids import RunId
from restead.domain.policy import Policy
from restead.domain.retention import candidate, decide
from restead.records import Records, Transaction, backups, deletions, operations, policies

log = structlog.get_logger()

_AT_LEAST = timedelta(days=1)
_TIMES_KEPT = timedelta(days=400)  # further back no clock is expected to be set


class PolicyRetention:
    """Promises the deletion of what no rule keeps; call it often."""

    def __init__(self, records: Records, submit: Callable[[RunId], None], keep_log: timedelta) -> None:
        """*keep_log*: how long entries of the operation log that have ended are kept."""
        self._records = records
        self._submit = submit
        self._keep_log = keep_log

    def __call__(self, check: Callable[[], None]) -> None:
        with self._records.read() as tx:
            due = policies.to_retain(tx, tx.now - _AT_LEAST)
        for policy in due:
            check()
            self._look(policy)
        with self._records.begin() as tx:
            operations.forget_before(tx, tx.now - self._keep_log)
            policies.forget_times_before(tx, tx.now - _TIMES_KEPT)

    def _look(self, policy: Policy) -> None:
        with self._records.begin() as tx:
            there = policies.find(tx, policy.id)
            if there is None:
                return
            promised = _remove(tx, there)
            policies.retained(tx, there.id)
        for run_id in promised:
            self._submit(run_id)
        if promised:
            log.info("a policy keeps no longer what it had made", policy=policy.id, backups=len(promised))


def _remove(tx: Transaction, policy: Policy) -> list[RunId]:
    made = {backup.id: backup for backup in backups.of_policy(tx, policy.id)}
    verdicts = decide(policy.keep, [candidate(backup) for backup in made.values()], tx.now)
    return [deletions.promise(tx, made[verdict.id]) for verdict in verdicts if verdict.removed]
