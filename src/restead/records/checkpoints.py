"""Rows of checkpoints.  A checkpoint's state is never set: it follows from its backups' states."""

from typing import Any

import sqlalchemy as sa

from restead.domain.backup import Checkpoint, ProtectedServer
from restead.domain.errors import Code, NotFound
from restead.domain.ids import CheckpointId, ProjectId, canonical_id
from restead.domain.listing import CheckpointFilter, Page, Window
from restead.domain.states import BackupState, checkpoint_state
from restead.records import listing
from restead.records.database import Transaction
from restead.records.encoding import build, plain
from restead.records.tables import backups, checkpoints

_SORTS = {"created_at": checkpoints.c.created_at, "id": checkpoints.c.id, "status": checkpoints.c.state}


def add(tx: Transaction, checkpoint: Checkpoint) -> None:
    tx.connection.execute(checkpoints.insert().values(**_row(checkpoint)))


def checkpoint(tx: Transaction, project_id: ProjectId, id: CheckpointId) -> Checkpoint:
    """Return a checkpoint of the project.  Raises NotFound; a deleted one is not found."""
    found = tx.connection.execute(
        sa.select(checkpoints).where(
            checkpoints.c.id == canonical_id(id),
            checkpoints.c.project_id == project_id,
            checkpoints.c.state != BackupState.DELETED,
        )
    ).one_or_none()
    if found is None:
        raise NotFound(f"backup record {id[:64]} does not exist", code=Code.BACKUP_NOT_FOUND)
    return checkpoint_of(found)


def list_checkpoints(
    tx: Transaction, project_id: ProjectId | None, wanted: CheckpointFilter, window: Window
) -> Page[Checkpoint]:
    """Return a page of a project's checkpoints, of all projects' if *project_id* is None."""
    where = [checkpoints.c.state != BackupState.DELETED]
    if wanted.status is not None:
        where.append(checkpoints.c.state == wanted.status)
    if wanted.plan_id is not None:
        where.append(checkpoints.c.plan_id == canonical_id(wanted.plan_id))
    if wanted.start is not None:
        where.append(checkpoints.c.created_at >= wanted.start)
    if wanted.end is not None:
        where.append(checkpoints.c.created_at <= wanted.end)
    found, more = listing.rows(tx, checkpoints, project_id, where, window, _SORTS)
    return Page(tuple(checkpoint_of(row) for row in found), more)


def settle(tx: Transaction, id: CheckpointId) -> None:
    """Make the checkpoint's state what its backups' states say; part of every move of a backup."""
    states = tx.connection.scalars(sa.select(backups.c.state).where(backups.c.checkpoint_id == id))
    state = checkpoint_state([BackupState(state) for state in states])
    tx.connection.execute(
        checkpoints.update()
        .where(checkpoints.c.id == id, checkpoints.c.state != state)
        .values(state=state, updated_at=tx.now)
    )


def _row(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "project_id": checkpoint.project_id,
        "state": checkpoint.state,
        "created_at": checkpoint.created_at,
        "updated_at": checkpoint.updated_at,
        "plan_id": checkpoint.plan_id,
        "plan_name": checkpoint.plan_name,
        "servers": plain(checkpoint.servers),
        "extra_info": checkpoint.extra_info,
    }


def checkpoint_of(row: sa.Row[Any]) -> Checkpoint:
    """Return the checkpoint of a row."""
    return Checkpoint(
        id=row.id,
        project_id=row.project_id,
        state=BackupState(row.state),
        created_at=row.created_at,
        updated_at=row.updated_at,
        plan_id=row.plan_id,
        plan_name=row.plan_name,
        servers=tuple(build(ProtectedServer, server) for server in row.servers),
        extra_info=row.extra_info,
    )
