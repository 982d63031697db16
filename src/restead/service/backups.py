"""Backups: what can be restored."""

from restead.domain.backup import Backup
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
        caller.require(Action.BACKUPS_LIST, project_id)
        every = window.all_projects and caller.is_admin
        with self._doors.records.read() as tx:
            return backups.list_backups(tx, None if every else project_id, wanted, window)

    def count(
        self, caller: Caller, project_id: ProjectId, wanted: BackupFilter, all_projects: bool = False
    ) -> int:
        caller.require(Action.BACKUPS_LIST, project_id)
        with self._doors.records.read() as tx:
            return backups.count(tx, None if all_projects and caller.is_admin else project_id, wanted)

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
