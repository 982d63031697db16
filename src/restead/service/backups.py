"""Backups: what can be restored."""

from datetime import datetime

from restead.domain.backup import Backup, check_hold
from restead.domain.caller import Action, Caller
from restead.domain.errors import NotFound
from restead.domain.ids import BackupId, CheckpointId, ProjectId
from restead.domain.listing import BackupFilter, Page, Window
from restead.records import backups
from restead.service.doors import Doors


class Backups:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def list(self, caller: Caller, project_id: ProjectId, wanted: BackupFilter, window: Window) -> Page[Backup]:
        where = caller.scope(Action.BACKUPS_LIST, project_id, all_projects=window.all_projects)
        with self._doors.records.read() as tx:
            return backups.list_backups(tx, where, wanted, window)

    def count(
        self, caller: Caller, project_id: ProjectId, wanted: BackupFilter, all_projects: bool = False
    ) -> int:
        where = caller.scope(Action.BACKUPS_LIST, project_id, all_projects=all_projects)
        with self._doors.records.read() as tx:
            return backups.count(tx, where, wanted)

    def hold(self, caller: Caller, project_id: ProjectId, id: BackupId, until: datetime) -> Backup:
        """Let nobody delete the backup before *until*; when this returns, every service and collection is bound.

        Holding it until the same moment again succeeds: for whoever did not get the answer.

        Raises:
            NotFound: there is no such backup.
            InvalidRequest: that is past, or sooner than it is held until; or CSBS.2003: it is no backup to be held.
            Unavailable: the repository does not answer.  The row is bound already, and the repository will be.
        """
        caller.require(Action.BACKUPS_HOLD, project_id)
        with self._doors.records.begin() as tx:
            backup = backups.backup(tx, project_id, id)
            check_hold(backup, until, tx.now)
            # The row first: from here on no deletion of it is promised, so none can come between it and the log.
            backups.set_hold(tx, backup.id, until)
        self._doors.hold(backup, until)
        with self._doors.records.read() as tx:
            return backups.backup(tx, project_id, backup.id)

    def backup(self, caller: Caller, project_id: ProjectId, id: BackupId) -> Backup:
        """Return the backup of that id, or the only backup of the checkpoint of that id.  Raises NotFound."""
        caller.require(Action.BACKUPS_GET, project_id)
        with self._doors.records.read() as tx:
            try:
                return backups.backup(tx, project_id, id)
            except NotFound:
                # CSBS, section 8.2: "a record with exactly one item, that item is returned"
                inside = [
                    backup
                    for backup in backups.of_checkpoint(tx, CheckpointId(id))
                    if backup.project_id == project_id
                ]
                if len(inside) != 1:
                    raise
                return inside[0]
