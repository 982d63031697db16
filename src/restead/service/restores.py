"""Restores: promised here, done by the workflow of the same name."""

from dataclasses import replace

from restead.domain.backup import Backup
from restead.domain.caller import Action, Caller
from restead.domain.errors import Code, NotFound
from restead.domain.ids import ProjectId, RestoreId, RunId, new_id, same_id
from restead.domain.listing import Page, RestoreFilter, Window
from restead.domain.restore import (
    Restore,
    RestorePlan,
    RestoreRequest,
    RestoreStats,
    VolumeRestore,
    check_distinct,
    plan_restore,
)
from restead.domain.run import RunKind, Told
from restead.domain.states import Event, RestoreState
from restead.records import Transaction, backups, checkpoints, events, restores, runs, servers
from restead.service.doors import Doors


class Restores:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def create(self, caller: Caller, project_id: ProjectId, request: RestoreRequest) -> Restore:
        """Promise a restore; when this returns, backup and server are reserved and it will be done.

        Raises:
            NotFound: the checkpoint or the backup in it (condition 3 of CSBS section 9.3).
            InvalidRequest: the first other condition of 9.3 that does not hold.  Nothing was changed.
        """
        caller.require(Action.RESTORES_CREATE, project_id)
        check_distinct(request.mappings)
        with self._doors.records.read() as tx:
            _backup(tx, project_id, request)  # before the cloud is asked anything
        server = self._doors.server(project_id, request.server_id)
        # Check, rows and run are one transaction: nothing else can begin on the server or with the backup in
        # between, and there is never a promise without a run.
        with self._doors.records.begin() as tx:
            backup = _backup(tx, project_id, request)
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
            plan = plan_restore(request, backup, server, busy=busy, zones=self._doors.rules.zones)
            restore = _restore(tx, project_id, request, plan)
            backups.move(tx, backup.id, Event.RESTORE, lambda backup: replace(backup, progress=0))
            restores.add(tx, restore, plan)
            runs.enqueue(tx, restore.run_id, RunKind.RESTORE, restore.id, project_id)
            events.add(tx, restore.run_id, Told.ACCEPTED, restore.id, total=restore.stats.total)
        self._doors.submit(restore.run_id)
        return restore

    def list(self, caller: Caller, project_id: ProjectId, wanted: RestoreFilter, window: Window) -> Page[Restore]:
        caller.require(Action.RESTORES_LIST, project_id)
        every = window.all_projects and caller.is_admin
        with self._doors.records.read() as tx:
            return restores.list_restores(tx, None if every else project_id, wanted, window)

    def restore(self, caller: Caller, project_id: ProjectId, id: RestoreId) -> Restore:
        """Return one.  Raises NotFound, also for another project's."""
        caller.require(Action.RESTORES_GET, project_id)
        with self._doors.records.read() as tx:
            return restores.restore(tx, project_id, id)


def _backup(tx: Transaction, project_id: ProjectId, request: RestoreRequest) -> Backup:
    checkpoints.checkpoint(tx, project_id, request.checkpoint_id)
    backup = backups.backup(tx, project_id, request.backup_id)
    if not same_id(backup.checkpoint_id, request.checkpoint_id):
        raise NotFound(
            f"backup {backup.id} is not in backup record {request.checkpoint_id}, it is in {backup.checkpoint_id}",
            code=Code.BACKUP_NOT_FOUND,
        )
    return backup


def _restore(tx: Transaction, project_id: ProjectId, request: RestoreRequest, plan: RestorePlan) -> Restore:
    volumes = tuple(
        VolumeRestore(
            volume_backup_id=mapping.volume_backup_id,
            volume_id=mapping.volume_id,
            size=volume.source.size,
            target_size=volume.target.size,
        )
        for mapping, volume in zip(request.mappings, plan.volumes, strict=True)
    )
    return Restore(
        id=RestoreId(new_id()),
        project_id=project_id,
        request=request,
        run_id=RunId(new_id()),
        state=RestoreState.IN_PROGRESS,
        created_at=tx.now,
        updated_at=tx.now,
        volumes=volumes,
        stats=RestoreStats(total=sum(volume.size for volume in volumes)),
    )
