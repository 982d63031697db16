"""How a backup and its disk backups stand in their rows."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from restead.domain.backup import Backup, Failure, Tag, VolumeBackup
from restead.domain.errors import Code
from restead.domain.ids import BackupId, VolumeId, canonical_id
from restead.domain.server import Server
from restead.domain.states import BackupState
from restead.records.database import Transaction
from restead.records.encoding import build, plain
from restead.records.tables import volume_backups

NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # when a backup was protected that was not yet, for sorting
_SAME_COLUMNS = (
    "id", "checkpoint_id", "project_id", "name", "description", "created_at", "updated_at", "run_id", "full",
    "consistency_wanted", "protected_at", "finished_at", "consistency", "progress", "failed_operation", "auto_trigger",
    "safety_of", "held_until", "guest_pause_us", "policy_id", "scheduled_at",
)  # fmt: skip
_SAME_VOLUME_COLUMNS = (
    "id", "name", "volume_id", "volume_name", "size", "bootable", "incremental", "stored", "read", "bytes_per_second",
    "snapshot_id", "manifest",
)  # fmt: skip


def backup_row(backup: Backup) -> dict[str, Any]:
    return {
        **{name: getattr(backup, name) for name in _SAME_COLUMNS},
        "state": backup.state,
        "name_folded": backup.name.casefold(),
        "server_key": canonical_id(backup.server.id),
        "server_name_folded": backup.server.name.casefold(),
        "zone": backup.server.zone,
        "private_address": backup.server.private_address,
        "public_address": backup.server.public_address,
        "stored": sum(volume.stored for volume in backup.volumes),
        "protected_or_never": backup.protected_at or NEVER,
        "server": plain(backup.server),
        "excluded": plain(backup.excluded),
        "tags": plain(backup.tags),
        **failure_columns(backup.failure),
    }


def volume_row(backup_id: BackupId, ordinal: int, volume: VolumeBackup) -> dict[str, Any]:
    return {
        **{name: getattr(volume, name) for name in _SAME_VOLUME_COLUMNS},
        "backup_id": backup_id,
        "ordinal": ordinal,
        "state": volume.state,
        "volume_key": canonical_id(volume.volume_id),
    }


def backups_of(tx: Transaction, rows: Sequence[sa.Row[Any]]) -> tuple[Backup, ...]:
    """Return the backups of these rows, in their order, with one query for all their disks."""
    volumes = defaultdict(list)
    if rows:
        query = sa.select(volume_backups).where(volume_backups.c.backup_id.in_([row.id for row in rows]))
        for row in tx.connection.execute(query.order_by(volume_backups.c.backup_id, volume_backups.c.ordinal)):
            same = {name: getattr(row, name) for name in _SAME_VOLUME_COLUMNS}
            volumes[row.backup_id].append(VolumeBackup(state=BackupState(row.state), **same))
    return tuple(_backup(row, tuple(volumes[row.id])) for row in rows)


def failure_columns(failure: Failure | None) -> dict[str, Any]:
    return {
        "failure_code": failure and failure.code.value,
        "failure_message": failure and failure.message,
    }


def failure_of(row: sa.Row[Any]) -> Failure | None:
    return None if row.failure_code is None else Failure(Code(row.failure_code), row.failure_message)


def _backup(row: sa.Row[Any], volumes: tuple[VolumeBackup, ...]) -> Backup:
    return Backup(
        **{name: getattr(row, name) for name in _SAME_COLUMNS},
        state=BackupState(row.state),
        server=build(Server, row.server),
        volumes=volumes,
        excluded=tuple(VolumeId(id) for id in row.excluded),
        tags=tuple(build(Tag, tag) for tag in row.tags),
        failure=failure_of(row),
    )
