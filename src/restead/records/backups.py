"""Rows of backups and of the disk backups in them.  States move only through the tables of `domain.states`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from restead.domain.backup import SERVER_TYPE, Backup
from restead.domain.errors import Code, NotFound
from restead.domain.ids import BackupId, CheckpointId, ManifestId, ProjectId, VolumeId, canonical_id
from restead.domain.listing import BackupFilter, Page, Window
from restead.domain.states import BACKUP, BackupState, Event, after
from restead.domain.tag import Tag, TagKind, TagSearch
from restead.records import checkpoints, counts, listing, tags, traits
from restead.records.backup_rows import backup_row, backups_of, volume_row
from restead.records.database import Transaction
from restead.records.encoding import plain
from restead.records.tables import backups, volume_backups
from restead.records.tables import checkpoints as checkpoint_table

_SORTS = {
    "created_at": backups.c.created_at,
    "updated_at": backups.c.updated_at,
    "name": backups.c.name,
    "status": backups.c.state,
    "protected_at": backups.c.protected_or_never,
    "id": backups.c.id,
}
_KEPT = (BackupState.AVAILABLE, BackupState.RESTORING)


def add(tx: Transaction, backup: Backup) -> None:
    tx.connection.execute(backups.insert().values(**backup_row(backup)))
    for ordinal, volume in enumerate(backup.volumes):
        tx.connection.execute(volume_backups.insert().values(**volume_row(backup.id, ordinal, volume)))
    tags.index(tx, TagKind.BACKUP, backup.project_id, backup.id, backup.tags)
    counts.moved(tx, backup.project_id, None, backup.state)
    traits.note(tx, backup)
    checkpoints.settle(tx, backup.checkpoint_id)


def set_tags(tx: Transaction, backup: Backup, wanted: tuple[Tag, ...]) -> None:
    """Let these be the backup's tags."""
    row = backups.update().where(backups.c.id == backup.id)
    tx.connection.execute(row.values(tags=plain(wanted), updated_at=tx.now))
    tags.index(tx, TagKind.BACKUP, backup.project_id, backup.id, wanted)


def tagged(tx: Transaction, project_id: ProjectId, wanted: TagSearch, limit: int, offset: int) -> tuple[Backup, ...]:
    """Return a page of the backups that *wanted* finds, newest first."""
    order = (backups.c.created_at.desc(), backups.c.id.desc())
    page = _tagged(sa.select(backups.c.id), project_id, wanted).order_by(*order).limit(limit).offset(offset)
    return backups_of(
        tx, list(tx.connection.execute(sa.select(backups).where(backups.c.id.in_(page)).order_by(*order)))
    )


def count_tagged(tx: Transaction, project_id: ProjectId, wanted: TagSearch) -> int:
    query = _tagged(sa.select(sa.func.count()).select_from(backups), project_id, wanted)
    return int(tx.connection.scalar(query) or 0)


def _tagged(query: sa.Select[Any], project_id: ProjectId, wanted: TagSearch) -> sa.Select[Any]:
    query = query.where(backups.c.project_id == project_id, backups.c.state != BackupState.DELETED)
    if wanted.name:  # an index has it in small letters, which passes over most rows that are not meant
        query = query.where(backups.c.name_folded.contains(wanted.name.casefold(), autoescape=True))
    return query.where(*tags.conditions(TagKind.BACKUP, project_id, backups.c.id, backups.c.name, wanted))


def backup(tx: Transaction, project_id: ProjectId, id: BackupId) -> Backup:
    """Return a backup of the project.  Raises NotFound; a deleted one is not found."""
    found = _select(tx, backups.c.id == canonical_id(id), backups.c.project_id == project_id)
    if not found:
        raise NotFound(f"backup {id[:64]} does not exist", code=Code.BACKUP_NOT_FOUND)
    return found[0]


def of_checkpoint(tx: Transaction, id: CheckpointId) -> tuple[Backup, ...]:
    """Return the backups of a checkpoint that are not deleted."""
    return _select(tx, backups.c.checkpoint_id == canonical_id(id))


def list_backups(tx: Transaction, project_id: ProjectId | None, wanted: BackupFilter, window: Window) -> Page[Backup]:
    """Return a page of a project's backups, of all projects' if *project_id* is None."""
    found, more = listing.rows(tx, backups, project_id, _where(tx, project_id, wanted), window, _SORTS)
    return Page(backups_of(tx, found), more)


def count(tx: Transaction, project_id: ProjectId | None, wanted: BackupFilter) -> int:
    if replace(wanted, status=None) == BackupFilter():
        return counts.number(tx, project_id, wanted.status)
    query = sa.select(sa.func.count()).select_from(backups).where(*_where(tx, project_id, wanted))
    if project_id is not None:
        query = query.where(backups.c.project_id == project_id)
    return int(tx.connection.scalar(query) or 0)


def usage(tx: Transaction, project_id: ProjectId) -> tuple[int, int]:
    """Return (number of backups, bytes stored for them) of a project, those being made or deleted included.

    Safety checkpoints count for nothing (CSBS, section 9.4).
    """
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(backups.c.stored), 0)).where(
        backups.c.project_id == project_id,
        backups.c.state != BackupState.DELETED,
        backups.c.safety_of.is_(None),
    )
    number, stored = tx.connection.execute(query).one()
    return int(number), int(stored)


def safety_before(tx: Transaction, moment: datetime) -> tuple[Backup, ...]:
    """Return what restores have kept to be undone, was made before *moment*, nobody holds and nobody works on."""
    resting = (BackupState.AVAILABLE, BackupState.ERROR)
    free = sa.or_(backups.c.held_until.is_(None), backups.c.held_until <= tx.now)
    old = backups.c.created_at < moment
    return _select(tx, backups.c.safety_of.is_not(None), old, backups.c.state.in_(resting), free)


def of_policy(tx: Transaction, id: str) -> tuple[Backup, ...]:
    """Return all that a policy has made and that is not deleted, oldest first."""
    return _select(tx, backups.c.policy_id == id)


def newest_good(tx: Transaction, project_id: ProjectId) -> dict[str, datetime]:
    """Return the moment of each server's newest backup that can be restored, by the server's canonical id.

    What restores have overwritten does not count, nor what a wrong clock has dated ahead of now.
    """
    good = sa.and_(backups.c.state.in_(_KEPT), backups.c.safety_of.is_(None), backups.c.protected_at <= tx.now)
    query = (
        sa.select(backups.c.server_key, sa.func.max(backups.c.protected_at).label("newest"))
        .where(backups.c.project_id == project_id, good)
        .group_by(backups.c.server_key)
    )
    return {row.server_key: row.newest for row in tx.connection.execute(query) if row.newest is not None}


def being_made(tx: Transaction, project_id: ProjectId) -> frozenset[str]:
    """Return the canonical ids of the servers that are being backed up."""
    under_way = sa.and_(backups.c.project_id == project_id, backups.c.state == BackupState.PROTECTING)
    return frozenset(tx.connection.scalars(sa.select(backups.c.server_key).where(under_way)))


def held(tx: Transaction) -> tuple[Backup, ...]:
    """Return the backups of all projects that are held, and those whose hold is over and was not noted yet."""
    return _select(tx, backups.c.held_until.is_not(None))


def set_hold(tx: Transaction, id: BackupId, until: datetime) -> None:
    tx.connection.execute(backups.update().where(backups.c.id == id).values(held_until=until, updated_at=tx.now))


def end_hold(tx: Transaction, id: BackupId, until: datetime) -> None:
    """Note that a hold until that moment is over, unless it was made longer meanwhile."""
    same = sa.and_(backups.c.id == id, backups.c.held_until == until)
    tx.connection.execute(backups.update().where(same).values(held_until=None, updated_at=tx.now))


def parent(tx: Transaction, project_id: ProjectId, volume_id: VolumeId) -> ManifestId | None:
    """Return the newest good manifest of that disk in the project, what an increment builds on."""
    query = (
        sa.select(volume_backups.c.manifest)
        .join_from(volume_backups, backups)
        .where(
            volume_backups.c.volume_key == canonical_id(volume_id),
            volume_backups.c.manifest.is_not(None),
            backups.c.project_id == project_id,
            backups.c.state.in_(_KEPT),
        )
        .order_by(backups.c.protected_at.desc(), backups.c.created_at.desc())
        .limit(1)
    )
    found = tx.connection.scalar(query)
    return None if found is None else ManifestId(found)


def move(
    tx: Transaction, id: BackupId, event: Event, change: Callable[[Backup], Backup] = lambda backup: backup
) -> Backup:
    """Move a backup by *event*, with what *change* makes of it, and its checkpoint with it.

    Raises:
        IllegalTransition: the backup is in a state that *event* does not lead out of; a bug.
    """
    row = tx.connection.execute(sa.select(backups).where(backups.c.id == id).with_for_update()).one()
    before = backups_of(tx, [row])[0]
    moved = replace(change(before), state=after(BACKUP, before.state, event), updated_at=tx.now)
    moved = replace(moved, volumes=tuple(replace(v, state=_volume_state(moved.state)) for v in moved.volumes))
    tx.connection.execute(backups.update().where(backups.c.id == id).values(**backup_row(moved)))
    for ordinal, volume in enumerate(moved.volumes):
        values = volume_row(moved.id, ordinal, volume)
        tx.connection.execute(volume_backups.update().where(volume_backups.c.id == volume.id).values(**values))
    counts.moved(tx, moved.project_id, before.state, moved.state)
    traits.note(tx, moved, before)
    if moved.state is BackupState.DELETED:
        tags.index(tx, TagKind.BACKUP, moved.project_id, moved.id, ())
    checkpoints.settle(tx, moved.checkpoint_id)
    return moved


def progress(tx: Transaction, id: BackupId, percent: int) -> None:
    tx.connection.execute(backups.update().where(backups.c.id == id).values(progress=percent, updated_at=tx.now))


def _volume_state(state: BackupState) -> BackupState:
    """A disk backup has its backup's state, but never restores (CSBS, section 2.5)."""
    return BackupState.AVAILABLE if state is BackupState.RESTORING else state


def _select(tx: Transaction, *where: sa.ColumnElement[bool]) -> tuple[Backup, ...]:
    query = sa.select(backups).where(backups.c.state != BackupState.DELETED, *where)
    return backups_of(tx, list(tx.connection.execute(query.order_by(backups.c.created_at, backups.c.id))))


def _where(tx: Transaction, project_id: ProjectId | None, wanted: BackupFilter) -> list[sa.ColumnElement[bool]]:
    where = [backups.c.state != BackupState.DELETED, *_matches(wanted)]
    if project_id is None:
        where += traits.narrowed(tx, wanted)
    if wanted.status is not None:
        # Nearly all may be in one state: of all projects' its own index, from which pages in that order are read, would
        # have each looked at and sorted.
        state = backups.c.state.concat("") if project_id is None else backups.c.state
        where.append(state == wanted.status)
    if wanted.policy_id is not None:
        plan = sa.select(checkpoint_table.c.id).where(checkpoint_table.c.plan_id == canonical_id(wanted.policy_id))
        if project_id is not None:
            plan = plan.where(checkpoint_table.c.project_id == project_id)
        where.append(backups.c.checkpoint_id.in_(plan))
    if wanted.address is not None:
        where.append((backups.c.private_address == wanted.address) | (backups.c.public_address == wanted.address))
    if wanted.image_type not in (None, "backup") or not _any_of(wanted.resource_types):
        where.append(sa.false())
    return where


def _matches(wanted: BackupFilter) -> Iterable[sa.ColumnElement[bool]]:
    """The conditions that are one comparison with one column, but that on the state."""
    columns = backups.c
    if wanted.name is not None:
        yield columns.name_folded.contains(wanted.name.casefold(), autoescape=True)
    if wanted.resource_name is not None:
        yield columns.server_name_folded.contains(wanted.resource_name.casefold(), autoescape=True)
    if wanted.resource_id is not None:
        yield columns.server_key == canonical_id(wanted.resource_id)
    if wanted.checkpoint_id is not None:
        yield columns.checkpoint_id == canonical_id(wanted.checkpoint_id)
    if wanted.zone is not None:
        yield columns.zone == wanted.zone
    if wanted.start is not None:
        yield columns.created_at >= wanted.start
    if wanted.end is not None:
        yield columns.created_at <= wanted.end


def _any_of(types: Sequence[str]) -> bool:
    return not types or SERVER_TYPE in types
