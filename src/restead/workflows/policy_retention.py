"""What policies do not keep any more goes, by an ordinary deletion.

Looked at after every scheduled backup, and at least once a day.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from restead.domain.errors import ResteadError
from restead.domain.ids import RunId
from restead.domain.policy import Policy
from restead.domain.retention import candidate, decide
from restead.records import Records, RecordsUnavailable, Transaction, backups, deletions, policies

log = structlog.get_logger()

_AT_LEAST = timedelta(days=1)


class PolicyRetention:
    """Promises the deletion of what no rule keeps; call it often."""

    def __init__(self, records: Records, submit: Callable[[RunId], None]) -> None:
        self._records = records
        self._submit = submit

    def __call__(self, check: Callable[[], None]) -> None:
        """Look at all that are due; what goes wrong with one is raised when the others are done."""
        with self._records.read() as tx:
            due = policies.to_retain(tx, tx.now - _AT_LEAST)
        wrong: ResteadError | None = None
        for policy in due:
            check()
            try:
                self._look(policy)
            except RecordsUnavailable:
                raise
            except ResteadError as error:
                log.debug("it cannot be told what a policy keeps", policy=policy.id, reason=error.message)
                wrong = wrong or error
        if wrong is not None:
            raise wrong

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
