"""What restores have kept to be undone goes when its time is over, by an ordinary deletion."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from restead.domain.ids import RunId
from restead.records import Records, backups, deletions, restores

log = structlog.get_logger()


class SafetyRetention:
    """Promises the deletion of safety checkpoints that are older than *keep*."""

    def __init__(self, records: Records, submit: Callable[[RunId], None], keep: timedelta) -> None:
        self._records = records
        self._submit = submit
        self._keep = keep

    def __call__(self, check: Callable[[], None]) -> None:
        check()
        with self._records.begin() as tx:
            old = backups.safety_before(tx, tx.now - self._keep)
            unneeded = [backup for backup in old if restores.needing(tx, backup.checkpoint_id) is None]
            promised = [deletions.promise(tx, backup) for backup in unneeded]
        for run_id in promised:
            self._submit(run_id)
        if promised:
            log.info("safety checkpoints have had their time", backups=len(promised))
