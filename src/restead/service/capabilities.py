"""Capabilities: what could be backed up or restored, found out without doing it (CSBS, section 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from restead.domain.backup import BackupRequest, plan_backup
from restead.domain.caller import Action, Caller
from restead.domain.capability import Finding, find
from restead.domain.ids import BackupId, ProjectId, ServerId
from restead.domain.restore import Mapping, RestoreRequest, check_distinct, plan_restore
from restead.records import backups, quotas, servers
from restead.service.doors import Doors


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup would go."""

    server_id: ServerId
    server_type: str
    mappings: tuple[Mapping, ...]


class Capabilities:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def protectable(
        self, caller: Caller, project_id: ProjectId, wanted: Sequence[tuple[ServerId, str]]
    ) -> list[Finding]:
        """Return one finding for each (server, type), in the same order.  Raises Unavailable."""
        caller.require(Action.BACKUPS_GET, project_id)
        return [find(id, type, partial(self._check_backup, project_id, id, type)) for id, type in wanted]

    def restorable(
        self, caller: Caller, project_id: ProjectId, wanted: Sequence[tuple[BackupId, Target]]
    ) -> list[Finding]:
        """Return one finding for each (backup, target), in the same order.  Raises Unavailable."""
        caller.require(Action.BACKUPS_GET, project_id)
        return [
            find(target.server_id, target.server_type, partial(self._check_restore, project_id, id, target))
            for id, target in wanted
        ]

    def _check_backup(self, project_id: ProjectId, id: ServerId, type: str) -> None:
        server = self._doors.server(project_id, id)
        with self._doors.records.read() as tx:
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
        plan_backup(BackupRequest(id, type), server, busy=busy, rules=self._doors.rules.backup)
        with self._doors.records.read() as tx:
            quotas.check(tx, project_id, self._doors.rules.quotas)

    def _check_restore(self, project_id: ProjectId, id: BackupId, target: Target) -> None:
        check_distinct(target.mappings)
        with self._doors.records.read() as tx:
            backup = backups.backup(tx, project_id, id)
        server = self._doors.server(project_id, target.server_id)
        with self._doors.records.read() as tx:
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
        request = RestoreRequest(
            checkpoint_id=backup.checkpoint_id,
            backup_id=backup.id,
            server_id=target.server_id,
            server_type=target.server_type,
            mappings=target.mappings,
        )
        plan_restore(request, backup, server, busy=busy, zones=self._doors.rules.zones)
