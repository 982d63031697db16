"""Rows of the operation log: opened with each run, settled in the transaction that ends it.

`runs` opens and begins them, so no run is without an entry; what becomes of one is read from the subject that the
run's ending has just moved.  An import is no run, and has an entry all the same.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from structlog.contextvars import get_contextvars

from restead.domain.audit import Phase, Said
from restead.domain.backup import Backup, Failure
from restead.domain.errors import Code, InvalidRequest, NotFound
from restead.domain.ids import BackupId, ProjectId, RestoreId, RunId, ServerId, canonical_id
from restead.domain.listing import Page, Window
from restead.domain.operation import OPEN, Operation, OperationFilter
from restead.domain.run import RunKind
from restead.domain.states import OPERATION, BackupState, Event, OperationState, RestoreState, after
from restead.records import audit, listing, notices
from restead.records.backup_rows import backups_of, failure_columns, failure_of
from restead.records.database import Transaction
from restead.records.tables import backups, checkpoints, operations, restores

_SORTS = {
    "created_at": operations.c.created_at,
    "updated_at": operations.c.updated_at,
    "status": operations.c.state,
    "id": operations.c.id,
}
_SAME_COLUMNS = (
    "id", "project_id", "created_at", "updated_at", "started_at", "ended_at", "checkpoint_id", "plan_id", "restore_id",
    "scheduled_operation_id", "server_id", "server_name", "backup_id", "backup_name", "incremental", "request_id",
)  # fmt: skip


def add(tx: Transaction, operation: Operation) -> None:
    """Insert an entry as it is.  What was left out is told."""
    row = {name: getattr(operation, name) for name in _SAME_COLUMNS}
    row |= {"kind": operation.kind, "state": operation.state, "server_key": canonical_id(operation.server_id)}
    tx.connection.execute(operations.insert().values(**row, **failure_columns(operation.failure)))
    if operation.state is OperationState.SKIPPED:
        notices.ended(tx, operation)


def opened(tx: Transaction, id: RunId, kind: RunKind, subject: str, project_id: ProjectId) -> None:
    """Insert the entry of a run that was promised, with all that the rows of its subject say."""
    about = _about_restore(tx, subject) if kind is RunKind.RESTORE else _about_backup(tx, subject)
    asked = str(get_contextvars().get("request", ""))
    add(tx, Operation(id, project_id, kind, OperationState.WAITING, tx.now, tx.now, **about, request_id=asked))


def made_at_once(tx: Transaction, backup: Backup) -> None:
    """Insert the entry of a backup that was made by whoever asked, without a run, and settle it."""
    about, began = _about_backup(tx, backup.id), backup.created_at
    add(tx, Operation(backup.run_id, backup.project_id, RunKind.BACKUP, OperationState.RUNNING, began, began, began,
                      **about))  # fmt: skip
    settled(tx, backup.run_id)


def belong(tx: Transaction, id: RunId, scheduled_operation_id: str) -> None:
    """Note which schedule started it."""
    row = operations.update().where(operations.c.id == id)
    tx.connection.execute(row.values(scheduled_operation_id=scheduled_operation_id))


def begun(tx: Transaction, id: RunId) -> None:
    """Note that somebody works on it now."""
    began = sa.func.coalesce(operations.c.started_at, sa.literal(tx.now, operations.c.started_at.type))
    _move(tx, id, Event.BEGIN, started_at=began)


def settled(tx: Transaction, id: RunId) -> None:
    """Note how it ended, as its subject tells it; nothing happens if the entry is gone or was settled already."""
    row = tx.connection.execute(sa.select(operations).where(operations.c.id == id)).one_or_none()
    if row is None or row.state not in OPEN:
        return
    failure = _outcome(tx, row)
    made = _as_made(tx, row.backup_id) if failure is None and row.kind == RunKind.BACKUP else {}
    _move(tx, id, Event.DONE if failure is None else Event.FAILED, ended_at=tx.now, **failure_columns(failure), **made)
    _note_end(tx, row, "done" if failure is None else f"failed: {failure.message}")
    _tell(tx, id)


def skipped(tx: Transaction, id: RunId, failure: Failure) -> None:
    """Note that it never began."""
    row = tx.connection.execute(sa.select(operations).where(operations.c.id == id)).one_or_none()
    if row is not None:
        _note_end(tx, row, f"skipped: {failure.message}")
    _move(tx, id, Event.SKIP, ended_at=tx.now, **failure_columns(failure))
    _tell(tx, id)


def operation(tx: Transaction, project_id: ProjectId, id: str) -> Operation:
    """Return an entry of the project.  Raises NotFound."""
    query = sa.select(operations).where(operations.c.id == canonical_id(id), operations.c.project_id == project_id)
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"operation {id[:64]} does not exist", code=Code.TASK_NOT_FOUND)
    return _operation(tx, row)


def list_operations(
    tx: Transaction, project_id: ProjectId | None, wanted: OperationFilter, window: Window
) -> Page[Operation]:
    """Return a page of a project's log, of all projects' if *project_id* is None."""
    columns = operations.c
    equal = {
        columns.state: wanted.state,
        columns.kind: wanted.kind,
        columns.checkpoint_id: wanted.checkpoint_id and canonical_id(wanted.checkpoint_id),
        columns.plan_id: wanted.plan_id and canonical_id(wanted.plan_id),
        columns.restore_id: wanted.restore_id and canonical_id(wanted.restore_id),
        columns.server_key: wanted.server_id and canonical_id(wanted.server_id),
    }
    where = [column == value for column, value in equal.items() if value is not None]
    if wanted.start is not None:
        where.append(columns.created_at >= wanted.start)
    if wanted.end is not None:
        where.append(columns.created_at <= wanted.end)
    found, more = listing.rows(tx, operations, project_id, where, window, _SORTS)
    return Page(tuple(_operation(tx, row) for row in found), more)


def delete(tx: Transaction, operation: Operation) -> None:
    """Take a finished entry out of the log.

    Raises:
        InvalidRequest: CSBS.2003, it has not ended.
    """
    if operation.state in OPEN:
        raise InvalidRequest(
            f"operation {operation.id} is {operation.state.value}; it can be removed when it has ended",
            code=Code.IN_PROGRESS,
        )
    tx.connection.execute(operations.delete().where(operations.c.id == operation.id))


def forget_before(tx: Transaction, moment: datetime) -> int:
    """Take entries that ended before that out of the log; tell how many."""
    columns = operations.c  # what was made later has not ended before either: an index finds the others
    old = sa.and_(columns.created_at < moment, columns.ended_at < moment)
    return tx.connection.execute(operations.delete().where(old)).rowcount


def _move(tx: Transaction, id: RunId, event: Event, **values: Any) -> None:
    state = tx.connection.scalar(sa.select(operations.c.state).where(operations.c.id == id))
    if state is not None:  # else somebody has removed it, or an older release had no log
        moved = after(OPERATION, OperationState(state), event)
        tx.connection.execute(
            operations.update().where(operations.c.id == id).values(state=moved, updated_at=tx.now, **values)
        )


def _tell(tx: Transaction, id: RunId) -> None:
    """Let operators be told what came of it, if that is news; in the transaction that makes it so."""
    row = tx.connection.execute(sa.select(operations).where(operations.c.id == id)).one_or_none()
    if row is not None:
        notices.ended(tx, _operation(tx, row))


def _note_end(tx: Transaction, row: sa.Row[Any], outcome: str) -> None:
    """Let the audit trail tell what came of a call, in the transaction that makes it so."""
    subject = row.restore_id if row.kind == RunKind.RESTORE else row.backup_id
    said = Said(Phase.ENDED, str(row.kind), subject, project_id=row.project_id, request_id=row.request_id,
                outcome=outcome)  # fmt: skip
    audit.append(tx, said)


def _about_backup(tx: Transaction, id: str) -> dict[str, Any]:
    query = (
        sa.select(backups.c.id, backups.c.name, backups.c.checkpoint_id, backups.c.full, backups.c.server,
                  checkpoints.c.plan_id)
        .join_from(backups, checkpoints)
        .where(backups.c.id == id)
    )  # fmt: skip
    row = tx.connection.execute(query).one_or_none()
    return {} if row is None else {**_of_backup(row), "incremental": not row.full, **_of_server(row.server)}


def _about_restore(tx: Transaction, id: str) -> dict[str, Any]:
    query = (
        sa.select(backups.c.id, backups.c.name, restores.c.checkpoint_id, checkpoints.c.plan_id, restores.c.plan)
        .join_from(restores, backups, restores.c.backup_id == backups.c.id)
        .join(checkpoints, backups.c.checkpoint_id == checkpoints.c.id)
        .where(restores.c.id == id)
    )
    row = tx.connection.execute(query).one_or_none()
    return {} if row is None else {**_of_backup(row), "restore_id": id, **_of_server(row.plan["server"])}


def _as_made(tx: Transaction, backup_id: str) -> dict[str, Any]:
    """Return what a backup turned out to be: the first of a disk is full, whatever was asked for."""
    row = tx.connection.execute(sa.select(backups).where(backups.c.id == backup_id)).one_or_none()
    return {} if row is None else {"incremental": backups_of(tx, [row])[0].incremental}


def _of_backup(row: Any) -> dict[str, Any]:
    return {"backup_id": row.id, "backup_name": row.name, "checkpoint_id": row.checkpoint_id,
            "plan_id": None if row.plan_id.startswith("fake_") else row.plan_id}  # fmt: skip


def _of_server(server: dict[str, Any]) -> dict[str, Any]:
    return {"server_id": ServerId(server["id"]), "server_name": server["name"]}


def _outcome(tx: Transaction, row: sa.Row[Any]) -> Failure | None:
    """Return why it failed, None if it did not."""
    table = restores if row.kind == RunKind.RESTORE else backups
    subject = row.restore_id if row.kind == RunKind.RESTORE else row.backup_id
    good = {
        RunKind.RESTORE: RestoreState.SUCCESS.value,
        RunKind.BACKUP: BackupState.AVAILABLE.value,
        RunKind.DELETE: BackupState.DELETED.value,
    }[RunKind(row.kind)]
    query = sa.select(table.c.state, table.c.failure_code, table.c.failure_message).where(table.c.id == subject)
    found: Any = tx.connection.execute(query).one_or_none()
    if found is None or found.state == good:
        return None
    return failure_of(found) or Failure(Code.INTERNAL, f"it ended, and left {found.state} behind")


def _operation(tx: Transaction, row: sa.Row[Any]) -> Operation:
    same = {name: getattr(row, name) for name in _SAME_COLUMNS}
    return Operation(**same, kind=RunKind(row.kind), state=OperationState(row.state), failure=failure_of(row),
                     progress=_progress(tx, row))  # fmt: skip


def _progress(tx: Transaction, row: sa.Row[Any]) -> int:
    if row.state != OperationState.RUNNING:
        return 100 if row.state == OperationState.SUCCESS else 0
    of_restore = row.kind == RunKind.RESTORE
    table, subject = (restores, RestoreId(row.restore_id)) if of_restore else (backups, BackupId(row.backup_id))
    return int(tx.connection.scalar(sa.select(table.c.progress).where(table.c.id == subject)) or 0)
