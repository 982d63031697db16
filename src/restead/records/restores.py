"""Rows of restores and of their target disks.  States move only through the tables of `domain.states`."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import Code, NotFound
from restead.domain.ids import CheckpointId, ProjectId, RestoreId, VolumeId, canonical_id, same_id
from restead.domain.listing import Page, RestoreFilter, Window
from restead.domain.restore import Restore, RestorePlan, RestoreRequest, RestoreStats, VolumeRestore
from restead.domain.states import PHASE, RESTORE, VOLUME, Event, RestorePhase, RestoreState, VolumeOutcome, after
from restead.records import listing
from restead.records.backup_rows import failure_columns, failure_of
from restead.records.database import Transaction
from restead.records.encoding import build, plain
from restead.records.tables import restore_volumes, restores, throttles

_ALL = "restores"  # the throttle of all restores together
_SAME_COLUMNS = ("session", "safety_checkpoint_id", "undo_of", "cancelled", "throttle")
_SORTS = {
    "created_at": restores.c.created_at,
    "updated_at": restores.c.updated_at,
    "status": restores.c.state,
    "id": restores.c.id,
}


def add(tx: Transaction, restore: Restore, plan: RestorePlan) -> None:
    tx.connection.execute(restores.insert().values(**_row(restore), plan=plain(plan)))
    for ordinal, volume in enumerate(restore.volumes):
        tx.connection.execute(restore_volumes.insert().values(**_volume_row(restore.id, ordinal, volume)))


def restore(tx: Transaction, project_id: ProjectId, id: RestoreId) -> Restore:
    """Return a restore of the project.  Raises NotFound."""
    query = sa.select(restores).where(restores.c.id == canonical_id(id), restores.c.project_id == project_id)
    found = restores_of(tx, list(tx.connection.execute(query)))
    if not found:
        raise NotFound(f"restore {id[:64]} does not exist", code=Code.TASK_NOT_FOUND)
    return found[0]


def plan(tx: Transaction, id: RestoreId) -> RestorePlan:
    """Return the plan that the restore was accepted with."""
    return build(RestorePlan, tx.connection.scalars(sa.select(restores.c.plan).where(restores.c.id == id)).one())


def list_restores(
    tx: Transaction, project_id: ProjectId | None, wanted: RestoreFilter, window: Window
) -> Page[Restore]:
    """Return a page of a project's restores, of all projects' if *project_id* is None."""
    where: list[sa.ColumnElement[bool]] = []
    if wanted.status is not None:
        where.append(restores.c.state == wanted.status)
    if wanted.checkpoint_id is not None:
        where.append(restores.c.checkpoint_id == canonical_id(wanted.checkpoint_id))
    if wanted.backup_id is not None:
        where.append(restores.c.backup_id == canonical_id(wanted.backup_id))
    if wanted.server_id is not None:
        where.append(restores.c.server_key == canonical_id(wanted.server_id))
    found, more = listing.rows(tx, restores, project_id, where, window, _SORTS)
    return Page(restores_of(tx, found), more)


def move(tx: Transaction, id: RestoreId, event: Event, change: Callable[[Restore], Restore]) -> Restore:
    """Move a restore by *event*, with what *change* makes of it.  Raises IllegalTransition: a bug."""
    before = _locked(tx, id)
    moved = replace(
        change(before), state=after(RESTORE, before.state, event), phase=RestorePhase.ENDED, updated_at=tx.now
    )
    tx.connection.execute(restores.update().where(restores.c.id == id).values(**_row(moved)))
    return moved


def advance(tx: Transaction, id: RestoreId, event: Event, **changes: Any) -> Restore:
    """Move a restore's phase by *event*; return it as it is now.  Raises IllegalTransition: a bug."""
    before = _locked(tx, id)
    moved = replace(before, phase=after(PHASE, before.phase, event), updated_at=tx.now, **changes)
    tx.connection.execute(restores.update().where(restores.c.id == id).values(**_row(moved)))
    return moved


def mark(tx: Transaction, id: RestoreId, ordinal: int, offset: int) -> None:
    """Note that one target disk is as wanted up to *offset*, and flushed.  Only after that is true."""
    tx.connection.execute(
        restore_volumes.update()
        .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
        .values(mark=offset)
    )


def give_up(tx: Transaction, id: RestoreId, ordinal: int, lost: Sequence[tuple[int, int]]) -> None:
    """Note what of a target disk becomes zeroes because it is lost in the repository."""
    tx.connection.execute(
        restore_volumes.update()
        .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
        .values(lost=[list(each) for each in lost])
    )


def identify(tx: Transaction, id: RestoreId, ordinal: int, identity: str) -> None:
    """Note which disk was compared: from the first write on no other one may be taken for it."""
    tx.connection.execute(
        restore_volumes.update()
        .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
        .values(identity=identity)
    )


def note(tx: Transaction, id: RestoreId, ordinal: int, reason: str) -> None:
    """Say of one target disk why it is the way it is."""
    tx.connection.execute(
        restore_volumes.update()
        .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
        .values(reason=reason)
    )


def cancel(tx: Transaction, id: RestoreId) -> Restore:
    """Ask a restore to be given up.  Whoever decides what becomes of its disks looks at it in that transaction."""
    tx.connection.execute(restores.update().where(restores.c.id == id).values(cancelled=True, updated_at=tx.now))
    return _locked(tx, id)


def throttle(tx: Transaction, id: RestoreId, bytes_per_second: int | None) -> Restore:
    """Let a restore go that fast at most; None: as fast as it can."""
    tx.connection.execute(
        restores.update().where(restores.c.id == id).values(throttle=bytes_per_second, updated_at=tx.now)
    )
    return _locked(tx, id)


def throttle_all(tx: Transaction, bytes_per_second: int | None) -> None:
    """Let all restores together go that fast at most; None: as fast as they can."""
    tx.connection.execute(throttles.delete().where(throttles.c.name == _ALL))
    if bytes_per_second is not None:
        tx.connection.execute(throttles.insert().values(name=_ALL, bytes_per_second=bytes_per_second))


def wishes(tx: Transaction, id: RestoreId) -> tuple[bool, int | None, int | None]:
    """Return (whether it is to be given up, its bytes per second, those of all restores together).  Cheap."""
    row = tx.connection.execute(sa.select(restores.c.cancelled, restores.c.throttle).where(restores.c.id == id)).one()
    together = tx.connection.scalar(sa.select(throttles.c.bytes_per_second).where(throttles.c.name == _ALL))
    return bool(row.cancelled), row.throttle, together


def in_doubt(tx: Transaction, project_id: ProjectId, volume_id: VolumeId) -> bool:
    """Tell whether the last restore of that disk that has ended has left it damaged."""
    query = (
        sa.select(restore_volumes.c.volume_id, restore_volumes.c.outcome)
        .join_from(restore_volumes, restores)
        .where(
            # Databases fold other letters than Python does: both sides are folded by the database, to find all that
            # may be meant, and which of them it is decides the one rule that there is for ids.
            sa.func.lower(restore_volumes.c.volume_id) == sa.func.lower(volume_id),
            restores.c.project_id == project_id,
            restores.c.state != RestoreState.IN_PROGRESS,
        )
        .order_by(restores.c.finished_at.desc())
    )
    outcomes = (row.outcome for row in tx.connection.execute(query) if same_id(row.volume_id, volume_id))
    return next(outcomes, None) == VolumeOutcome.DAMAGED


def needing(tx: Transaction, checkpoint_id: CheckpointId) -> RestoreId | None:
    """Return the restore under way that might be put back from that safety checkpoint, None if there is none."""
    query = sa.select(restores.c.id).where(
        restores.c.safety_checkpoint_id == canonical_id(checkpoint_id), restores.c.state == RestoreState.IN_PROGRESS
    )
    found = tx.connection.scalar(query)
    return None if found is None else RestoreId(found)


def move_volume(tx: Transaction, id: RestoreId, ordinal: int, event: Event, **changes: Any) -> None:
    """Move the target disk at place *ordinal* by *event*.  Raises IllegalTransition: a bug."""
    volume = _locked(tx, id).volumes[ordinal]
    moved = replace(volume, outcome=after(VOLUME, volume.outcome, event), **changes)
    tx.connection.execute(
        restore_volumes.update()
        .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
        .values(**_volume_row(id, ordinal, moved))
    )


def progress(tx: Transaction, id: RestoreId, percent: int, stats: RestoreStats, volumes: Sequence[int]) -> None:
    """Note how far a restore is: over all, and percent for each disk in its order."""
    tx.connection.execute(
        restores.update()
        .where(restores.c.id == id)
        .values(progress=percent, stats=plain(stats), updated_at=tx.now)
    )
    for ordinal, done in enumerate(volumes):
        tx.connection.execute(
            restore_volumes.update()
            .where(restore_volumes.c.restore_id == id, restore_volumes.c.ordinal == ordinal)
            .values(progress=done)
        )


def _locked(tx: Transaction, id: RestoreId) -> Restore:
    row = tx.connection.execute(sa.select(restores).where(restores.c.id == id).with_for_update()).one()
    return restores_of(tx, [row])[0]


def _row(restore: Restore) -> dict[str, Any]:
    return {
        "id": restore.id,
        "project_id": restore.project_id,
        "state": restore.state,
        "created_at": restore.created_at,
        "updated_at": restore.updated_at,
        "finished_at": restore.finished_at,
        "checkpoint_id": canonical_id(restore.request.checkpoint_id),
        "backup_id": canonical_id(restore.request.backup_id),
        "server_key": canonical_id(restore.request.server_id),
        "run_id": restore.run_id,
        "request": plain(restore.request),
        "stats": plain(restore.stats),
        "progress": restore.progress,
        "server_reason": restore.server_reason,
        "phase": restore.phase,
        **{name: getattr(restore, name) for name in _SAME_COLUMNS},
        **failure_columns(restore.failure),
    }


def _volume_row(restore_id: RestoreId, ordinal: int, volume: VolumeRestore) -> dict[str, Any]:
    return {"restore_id": restore_id, "ordinal": ordinal, **plain(volume)}


def restores_of(tx: Transaction, rows: Sequence[sa.Row[Any]]) -> tuple[Restore, ...]:
    """Return the restores of these rows, in their order, with one query for all their disks."""
    volumes = defaultdict(list)
    if rows:
        query = sa.select(restore_volumes).where(restore_volumes.c.restore_id.in_([row.id for row in rows]))
        for row in tx.connection.execute(query.order_by(restore_volumes.c.restore_id, restore_volumes.c.ordinal)):
            volumes[row.restore_id].append(_volume(row))
    return tuple(_restore(row, tuple(volumes[row.id])) for row in rows)


def _volume(row: sa.Row[Any]) -> VolumeRestore:
    return VolumeRestore(
        volume_backup_id=row.volume_backup_id,
        volume_id=row.volume_id,
        size=row.size,
        target_size=row.target_size,
        outcome=VolumeOutcome(row.outcome),
        ranges=tuple((offset, length) for offset, length in row.ranges),
        progress=row.progress,
        reason=row.reason,
        mark=row.mark,
        lost=tuple((offset, length) for offset, length in row.lost),
        identity=row.identity,
    )


def _restore(row: sa.Row[Any], volumes: tuple[VolumeRestore, ...]) -> Restore:
    return Restore(
        id=row.id,
        project_id=row.project_id,
        request=build(RestoreRequest, row.request),
        run_id=row.run_id,
        state=RestoreState(row.state),
        created_at=row.created_at,
        updated_at=row.updated_at,
        volumes=volumes,
        finished_at=row.finished_at,
        progress=row.progress,
        server_reason=row.server_reason,
        failure=failure_of(row),
        stats=build(RestoreStats, row.stats),
        phase=RestorePhase(row.phase),
        **{name: getattr(row, name) for name in _SAME_COLUMNS},
    )
