"""A run of a policy, promised: one checkpoint, and in it a backup of each server, in one transaction."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from restead.domain.backup import (
    Backup,
    BackupRequest,
    BackupRules,
    Checkpoint,
    Failure,
    ProtectedServer,
    plan_backup,
)
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import CheckpointId, RunId, new_id
from restead.domain.operation import Operation
from restead.domain.policy import Policy
from restead.domain.promise import failed_backup, new_backup
from restead.domain.quota import QuotaLimits, check_quotas
from restead.domain.run import RunKind, Told
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, OperationState
from restead.records import backups, checkpoints, events, operations, quotas, runs, servers
from restead.records.database import Transaction

SCHEDULED, MANUAL = (json.dumps({"created_by": who}) for who in ("operation-engine", "manual"))


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What is to be run: the servers of the policy, each as its cloud describes it or why it could not."""

    policy: Policy
    servers: Sequence[tuple[ProtectedServer, Server | Failure]]
    rules: BackupRules
    quotas: QuotaLimits
    auto_trigger: bool = False
    scheduled_at: datetime | None = None  # None: somebody asked for it
    not_after: datetime | None = None  # when what has not begun is given up


def begin(tx: Transaction, run: PolicyRun) -> tuple[Checkpoint, list[RunId]]:
    """Promise it; return its checkpoint, and the runs to be submitted after the commit.

    A server that cannot be backed up now gets a backup in error, and an entry in the log.

    Raises:
        InvalidRequest: CSBS.6032, there is no server; CSBS.9006, the quota is used up.  Nothing was changed.
    """
    if not run.servers:
        raise InvalidRequest(f"policy {run.policy.id} has no server to back up", code=Code.POLICY_WITHOUT_SERVER)
    limits = quotas.limits(tx, run.policy.project_id, run.quotas)
    number, stored = backups.usage(tx, run.policy.project_id)
    check_quotas(limits, backups=number, stored=stored)
    checkpoint = _checkpoint(tx, run)
    checkpoints.add(tx, checkpoint)
    begun: list[RunId] = []
    for listed, found in run.servers:
        try:
            check_quotas(limits, backups=number, stored=stored)
        except InvalidRequest as error:  # no item: it would count as well
            _log(tx, run, Failure(error.code, error.message), listed, checkpoint)
            continue
        number += 1
        backup = _begin_one(tx, run, checkpoint, listed, found)
        if backup.state is BackupState.PROTECTING:
            begun.append(backup.run_id)
    return checkpoint, begun


def skip(tx: Transaction, policy: Policy, code: Code, why: str) -> None:
    """Write into the log that a time of the schedule was left out."""
    made = Operation(RunId(new_id()), policy.project_id, RunKind.BACKUP, OperationState.SKIPPED, tx.now, tx.now,
                     ended_at=tx.now, plan_id=policy.id, scheduled_operation_id=policy.operation_id,
                     failure=Failure(code, why))  # fmt: skip
    operations.add(tx, made)


def _checkpoint(tx: Transaction, run: PolicyRun) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(new_id()),
        project_id=run.policy.project_id,
        state=BackupState.PROTECTING,
        created_at=tx.now,
        updated_at=tx.now,
        plan_id=run.policy.id,
        plan_name=run.policy.name,
        servers=tuple(listed for listed, _ in run.servers),
        extra_info=MANUAL if run.scheduled_at is None else SCHEDULED,
    )


def _begin_one(
    tx: Transaction, run: PolicyRun, checkpoint: Checkpoint, listed: ProtectedServer, found: Server | Failure
) -> Backup:
    kind = "manualbk" if run.scheduled_at is None else "autobk"  # CSBS, section 7.1
    request = BackupRequest(listed.id, name=f"{kind}_{secrets.token_hex(2)}", tags=run.policy.tags)
    failure, server = (found, None) if isinstance(found, Failure) else (None, found)
    if server is not None:
        # A disk that is left out and was taken off the server since is left out all the same.
        attached = tuple(id for id in listed.excluded if server.volume(id) is not None)
        request = replace(request, excluded=attached)
        busy = servers.under_way(tx, run.policy.project_id, server.id)
        try:
            plan = plan_backup(request, server, busy=busy, rules=run.rules)
        except InvalidRequest as error:
            failure = Failure(error.code, error.message)
        else:
            return _promise(tx, run, _of(run, new_backup(checkpoint, request, plan, tx.now)))
    assert failure is not None
    return _fail(tx, run, checkpoint, request, listed, server, failure)


def _promise(tx: Transaction, run: PolicyRun, backup: Backup) -> Backup:
    backups.add(tx, backup)
    runs.enqueue(tx, backup.run_id, RunKind.BACKUP, backup.id, backup.project_id, server=backup.server,
                 not_after=run.not_after)  # fmt: skip
    if run.scheduled_at is not None:
        operations.belong(tx, backup.run_id, run.policy.operation_id)
    events.add(tx, backup.run_id, Told.ACCEPTED, backup.id)
    return backup


def _fail(
    tx: Transaction, run: PolicyRun, checkpoint: Checkpoint, request: BackupRequest, listed: ProtectedServer,
    server: Server | None, failure: Failure,
) -> Backup:  # fmt: skip
    described = server or Server(listed.id, run.policy.project_id, listed.name, ServerStatus.ERROR)
    backup = _of(run, failed_backup(checkpoint, request, described, failure, tx.now))
    backups.add(tx, backup)
    _log(tx, run, failure, listed, checkpoint, backup)
    return backup


def _of(run: PolicyRun, backup: Backup) -> Backup:
    return replace(backup, policy_id=run.policy.id, scheduled_at=run.scheduled_at, auto_trigger=run.auto_trigger)


def _log(
    tx: Transaction, run: PolicyRun, failure: Failure, listed: ProtectedServer, checkpoint: Checkpoint,
    backup: Backup | None = None,
) -> None:  # fmt: skip
    """Write into the log that a server was left out of the run, and why."""
    operations.add(
        tx,
        Operation(
            RunId(new_id()) if backup is None else backup.run_id, run.policy.project_id, RunKind.BACKUP,
            OperationState.SKIPPED, tx.now, tx.now, ended_at=tx.now, plan_id=run.policy.id,
            checkpoint_id=checkpoint.id, server_id=listed.id, server_name=listed.name, failure=failure,
            backup_id=backup.id if backup else "", backup_name=backup.name if backup else "", incremental=True,
            scheduled_operation_id=None if run.scheduled_at is None else run.policy.operation_id,
        ),
    )  # fmt: skip
