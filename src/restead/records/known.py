"""Rows of what is known of disks: what each held last that was read or written completely."""

import sqlalchemy as sa

from restead.domain.ids import ManifestId, ProjectId, VolumeId, canonical_id
from restead.domain.known import KnownDisk
from restead.records.database import Transaction
from restead.records.tables import known_disks


def note(tx: Transaction, project_id: ProjectId, volume_id: VolumeId, known: KnownDisk) -> None:
    """Let this be what is known of a disk."""
    tx.connection.execute(known_disks.delete().where(_is(project_id, volume_id)))
    tx.connection.execute(
        known_disks.insert().values(
            project_id=project_id,
            volume_key=canonical_id(volume_id),
            manifest=known.manifest,
            root=known.root,
            generation=known.generation,
            noted_at=tx.now,
        )
    )


def known(tx: Transaction, project_id: ProjectId, volume_id: VolumeId) -> KnownDisk | None:
    """Return what is known of a disk, None if nothing is."""
    row = tx.connection.execute(sa.select(known_disks).where(_is(project_id, volume_id))).first()
    return None if row is None else KnownDisk(ManifestId(row.manifest), row.root, row.generation)


def _is(project_id: ProjectId, volume_id: VolumeId) -> sa.ColumnElement[bool]:
    return sa.and_(known_disks.c.project_id == project_id, known_disks.c.volume_key == canonical_id(volume_id))
