"""What rows name of the repository, and rows made anew of what it holds."""

from collections.abc import Iterator

import sqlalchemy as sa

from restead.domain.backup import Backup, Checkpoint
from restead.domain.ids import BackupId, ManifestId, ProjectId, RunId, VolumeId
from restead.domain.states import BackupState
from restead.domain.stock import NamedDisk
from restead.records import backups, checkpoints
from restead.records.backup_rows import backups_of
from restead.records.database import Transaction
from restead.records.tables import backups as backup_table
from restead.records.tables import checkpoints as checkpoint_table
from restead.records.tables import volume_backups

_AT_ONCE = 1000  # rows


def named(tx: Transaction, state: BackupState | None = None) -> Iterator[NamedDisk]:
    """Yield every disk backup that names a manifest, backup by backup; those of deleted ones do not count.

    *state*: only of backups in that state.  They are fetched in parts: while a million are taken in at once nothing is
    asked of the database, which takes us for dead after a minute of that.
    """
    which = backup_table.c.state != BackupState.DELETED if state is None else backup_table.c.state == state
    query = (
        sa.select(
            volume_backups.c.manifest, backup_table.c.project_id, backup_table.c.id, volume_backups.c.volume_id,
            backup_table.c.run_id,
        )
        .join_from(volume_backups, backup_table)
        .where(volume_backups.c.manifest.is_not(None), which)
        .order_by(backup_table.c.created_at, backup_table.c.id, volume_backups.c.ordinal)
    )  # fmt: skip
    for row in tx.connection.execute(query, execution_options={"yield_per": _AT_ONCE}):
        yield NamedDisk(ManifestId(row[0]), ProjectId(row[1]), BackupId(row[2]), VolumeId(row[3]), RunId(row[4]))


def of_run(tx: Transaction, project_id: ProjectId, run_id: RunId) -> tuple[Backup, ...]:
    """Return the backups that a run has made and that are not deleted."""
    query = sa.select(backup_table).where(
        backup_table.c.run_id == run_id,
        backup_table.c.project_id == project_id,
        backup_table.c.state != BackupState.DELETED,
    )
    return backups_of(tx, list(tx.connection.execute(query)))


def is_free(tx: Transaction, backup: Backup) -> bool:
    """Tell whether no row, of a deleted backup neither, has the ids of this backup and its disks."""
    disks = [volume.id for volume in backup.volumes]
    same = sa.select(backup_table.c.id).where(backup_table.c.id == backup.id)
    inside = sa.select(volume_backups.c.id).where(volume_backups.c.id.in_(disks))
    return tx.connection.execute(sa.union_all(same, inside)).first() is None


def adopt(tx: Transaction, checkpoint: Checkpoint, backup: Backup) -> None:
    """Insert a backup that was made earlier, and its checkpoint unless that is there.

    A deleted checkpoint comes back with it.
    """
    there = sa.select(checkpoint_table.c.id).where(checkpoint_table.c.id == checkpoint.id)
    if tx.connection.execute(there).first() is None:
        checkpoints.add(tx, checkpoint)
    backups.add(tx, backup)
