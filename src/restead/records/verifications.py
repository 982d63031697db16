"""Rows of verifications: what was looked at when, and what was wrong."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from restead.domain.ids import BackupId, ManifestId
from restead.domain.verification import DamagedDisk, Depth, Verification, VerificationState
from restead.records.database import Transaction
from restead.records.encoding import build, plain
from restead.records.tables import verifications, volume_backups

_KEPT = 100  # the newest


def keep(tx: Transaction, verification: Verification) -> None:
    """Insert a verification, or write what it has come to; the oldest are forgotten."""
    tx.connection.execute(verifications.delete().where(verifications.c.id == verification.id))
    row: dict[str, Any] = plain(verification)
    row |= {"started_at": verification.started_at, "finished_at": verification.finished_at}
    tx.connection.execute(verifications.insert().values(**row))
    old = sa.select(verifications.c.id).order_by(verifications.c.started_at.desc()).offset(_KEPT).limit(_KEPT)
    tx.connection.execute(verifications.delete().where(verifications.c.id.in_(old.scalar_subquery())))


def newest(tx: Transaction, *, ended: bool = False, depth: Depth | None = None) -> Verification | None:
    """Return the last one, None if there is none; *ended*: that came to its end; *depth*: of that depth.

    One that a wrong clock dates ahead of now counts only where there is no other: it would hide all until then.
    """
    began = verifications.c.started_at
    query = sa.select(verifications).order_by(began > tx.now, began.desc()).limit(1)
    if ended:
        query = query.where(verifications.c.state != VerificationState.RUNNING)
    if depth is not None:
        query = query.where(verifications.c.depth == depth)
    row = tx.connection.execute(query).mappings().first()
    if row is None:
        return None
    times = {"started_at": row["started_at"].isoformat(), "finished_at": row["finished_at"]}
    if times["finished_at"] is not None:
        times["finished_at"] = times["finished_at"].isoformat()
    return build(Verification, {**row, **times})


def known_lost(tx: Transaction, manifests: Collection[ManifestId]) -> dict[ManifestId, tuple[datetime, DamagedDisk]]:
    """Return what the newest verifications have found lost of these, and when they began.

    One of the structure says nothing of bits: it takes nothing back that a deeper one has found.
    """
    ended = [each for depth in Depth if (each := newest(tx, ended=True, depth=depth)) is not None]
    ended.sort(key=lambda each: each.started_at)
    deeper = [at for at, each in enumerate(ended) if each.depth is not Depth.STRUCTURE]
    counting = ended[deeper[-1] if deeper else 0 :]
    return {
        disk.manifest: (each.started_at, disk) for each in counting for disk in each.disks if disk.manifest in manifests
    }


def disk_backups(tx: Transaction, backup_id: BackupId) -> dict[str, str]:
    """Return the ids of a backup's disk backups by their manifests."""
    query = sa.select(volume_backups.c.manifest, volume_backups.c.id).where(volume_backups.c.backup_id == backup_id)
    return {row.manifest: row.id for row in tx.connection.execute(query) if row.manifest is not None}
