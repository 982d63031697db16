"""Backups that are to go: reserved, and promised to be deleted, in one transaction."""

from dataclasses import replace

from restead.domain.backup import Backup
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import RunId, new_id
from restead.domain.run import RunKind, Told
from restead.domain.states import Event
from restead.records import backups, events, runs
from restead.records.database import Transaction


def promise(tx: Transaction, backup: Backup) -> RunId:
    """Make the backup `deleting` and enqueue the run that deletes it; to be submitted after the commit.

    Raises:
        InvalidRequest: it is held.
    """
    if backup.held_until is not None and tx.now < backup.held_until:
        raise InvalidRequest(
            f"backup {backup.id} is held until {backup.held_until:%Y-%m-%d %H:%M:%S} UTC; nobody can delete it before",
            code=Code.IN_PROGRESS,
        )
    run_id = RunId(new_id())
    backups.move(tx, backup.id, Event.DELETE, lambda backup: replace(backup, progress=0))
    runs.enqueue(tx, run_id, RunKind.DELETE, backup.id, backup.project_id)
    events.add(tx, run_id, Told.ACCEPTED, backup.id)
    return run_id
