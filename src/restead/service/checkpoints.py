"""Checkpoints: a server protected now, and what came of it."""

from collections.abc import Sequence

from restead.domain.backup import (
    Backup,
    BackupPlan,
    BackupRequest,
    Checkpoint,
    ProtectedServer,
    plan_backup,
)
from restead.domain.caller import Action, Caller
from restead.domain.errors import Code, InvalidRequest, NotFound
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ProjectId,
    new_id,
    same_id,
)
from restead.domain.listing import CheckpointFilter, Page, Window
from restead.domain.promise import new_backup
from restead.domain.run import RunKind, Told
from restead.domain.states import BackupState
from restead.records import Transaction, backups, checkpoints, deletions, events, quotas, restores, runs, servers
from restead.service.doors import Doors

_BUSY = (BackupState.PROTECTING, BackupState.RESTORING, BackupState.DELETING)


class Checkpoints:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def protect(self, caller: Caller, project_id: ProjectId, request: BackupRequest) -> Checkpoint:
        """Promise a backup of one server; when this returns it is in the records and will be made.

        Raises:
            InvalidRequest: a condition of CSBS section 5 does not hold; nothing was changed.
        """
        caller.require(Action.BACKUPS_CREATE, project_id)
        server = self._doors.server(project_id, request.server_id)
        # Check, rows and run are one transaction: nothing else can begin on the server in between, and
        # there is never a promise without a run.
        with self._doors.records.begin() as tx:
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
            plan = plan_backup(request, server, busy=busy, rules=self._doors.rules.backup)
            quotas.check(tx, project_id, self._doors.rules.quotas)
            checkpoint = _checkpoint(tx, project_id, request, plan)
            backup = new_backup(checkpoint, request, plan, tx.now)
            checkpoints.add(tx, checkpoint)
            backups.add(tx, backup)
            runs.enqueue(tx, backup.run_id, RunKind.BACKUP, backup.id, project_id, server=backup.server)
            events.add(tx, backup.run_id, Told.ACCEPTED, backup.id)
        self._doors.submit(backup.run_id)
        return checkpoint

    def list(
        self, caller: Caller, project_id: ProjectId, wanted: CheckpointFilter, window: Window
    ) -> Page[Checkpoint]:
        where = caller.scope(Action.BACKUPS_LIST, project_id, all_projects=window.all_projects)
        with self._doors.records.read() as tx:
            return checkpoints.list_checkpoints(tx, where, wanted, window)

    def checkpoint(self, caller: Caller, project_id: ProjectId, id: CheckpointId) -> Checkpoint:
        """Return one.  Raises NotFound, also for another project's."""
        caller.require(Action.BACKUPS_GET, project_id)
        with self._doors.records.read() as tx:
            return checkpoints.checkpoint(tx, project_id, id)

    def delete(
        self, caller: Caller, project_id: ProjectId, id: CheckpointId, backup_ids: Sequence[BackupId] | None
    ) -> None:
        """Promise that these backups of the checkpoint (None: all) go; they are `deleting` when this returns.

        Raises:
            NotFound: the checkpoint, or one of the backups in it.
            InvalidRequest: CSBS.2003, one of them is being worked on.  Nothing is deleted then.
        """
        caller.require(Action.BACKUPS_DELETE, project_id)
        with self._doors.records.begin() as tx:
            checkpoint = checkpoints.checkpoint(tx, project_id, id)
            chosen = _chosen(checkpoint, backups.of_checkpoint(tx, checkpoint.id), backup_ids)
            _check_not_needed(tx, checkpoint)
            promised = [deletions.promise(tx, backup) for backup in chosen]
        for run_id in promised:
            self._doors.submit(run_id)


def _checkpoint(tx: Transaction, project_id: ProjectId, request: BackupRequest, plan: BackupPlan) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(new_id()),
        project_id=project_id,
        state=BackupState.PROTECTING,
        created_at=tx.now,
        updated_at=tx.now,
        plan_id=f"fake_{new_id()}",  # CSBS, section 2.1: what a manual backup has for a policy
        plan_name=f"server protect plan for {plan.server.id}",
        servers=(ProtectedServer(plan.server.id, plan.server.name, request.excluded),),
    )


def _chosen(
    checkpoint: Checkpoint, there: Sequence[Backup], backup_ids: Sequence[BackupId] | None
) -> Sequence[Backup]:
    if backup_ids is None:
        chosen = there
    else:
        for id in backup_ids:
            if not any(same_id(id, backup.id) for backup in there):
                raise NotFound(
                    f"backup {id[:64]} is not in backup record {checkpoint.id}", code=Code.BACKUP_NOT_FOUND
                )
        chosen = [backup for backup in there if any(same_id(id, backup.id) for id in backup_ids)]
    for backup in chosen:
        if backup.state in _BUSY:
            raise InvalidRequest(
                f"backup {backup.id} is {backup.state.value}; it can be deleted when that has ended",
                code=Code.IN_PROGRESS,
            )
    return chosen


def _check_not_needed(tx: Transaction, checkpoint: Checkpoint) -> None:
    restore_id = restores.needing(tx, checkpoint.id)
    if restore_id is not None:
        raise InvalidRequest(
            f"restore {restore_id} is under way and may have to put its disks back from backup record {checkpoint.id}; "
            f"it can be deleted when that has ended",
            code=Code.IN_PROGRESS,
        )
