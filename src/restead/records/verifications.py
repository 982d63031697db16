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
_DEEPER = (Depth.OBJECTS, Depth.FULL)  # these have looked at every bit


def keep(tx: Transaction, verification: Verification) -> None:
    """Insert a verification, or write what it has come to; the oldest are forgotten."""
    tx.connection.execute(verifications.delete().where(verifications.c.id == verification.id))
    row: dict[str, Any] = plain(verification)
    row |= {"started_at": verification.started_at, "finished_at": verification.finished_at}
    tx.connection.execute(verifications.insert().values(**row))
    old = sa.select(verifications.c.id).order_by(verifications.c.started_at.desc()).offset(_KEPT).limit(_KEPT)
    tx.connection.execute(verifications.delete().where(verifications.c.id.in_(old.scalar_subquery())))


def newest(
    tx: Transaction, *, ended: bool = False, depths: Collection[Depth] = tuple(Depth)
) -> Verification | None:
    """Return the last one, None if there is none; *ended*: that came to its end; *depths*: of one of these.

    One that a wrong clock dates ahead of now counts only where there is no other: it would hide all until then.
    """
    began = verifications.c.started_at
    query = sa.select(verifications).where(verifications.c.depth.in_(depths))
    query = query.order_by(began > tx.now, began.desc()).limit(1)
    if ended:
        query = query.where(verifications.c.state != VerificationState.RUNNING)
    row = tx.connection.execute(query).mappings().first()
    if row is None:
        return None
    times = {"started_at": row["started_at"].isoformat(), "finished_at": row["finished_at"]}
    if times["finished_at"] is not None:
        times["finished_at"] = times["finished_at"].isoformat()
    return build(Verification, {**row, **times})


def standing(tx: Transaction) -> Verification | None:
    """Return the one whose result stands, None if none has come to its end.

    It is the last; but one of the structure that is well takes nothing back that a deeper one has found.
    """
    found = _counting(tx)
    if not found:
        return None
    first, last = found[0], found[-1]
    return first if (first.state, last.state) == (VerificationState.DAMAGED, VerificationState.SOUND) else last


def known_lost(tx: Transaction, manifests: Collection[ManifestId]) -> dict[ManifestId, tuple[datetime, DamagedDisk]]:
    """Return what the newest verifications have found lost of these, and when they began."""
    return {
        disk.manifest: (each.started_at, disk)
        for each in _counting(tx)
        for disk in each.disks
        if disk.manifest in manifests
    }


def _counting(tx: Transaction) -> tuple[Verification, ...]:
    """Return those that have come to their end and count: the last, and the deeper one before it if it says nothing of
    bits, as one of the structure does."""
    last = newest(tx, ended=True)
    if last is None:
        return ()
    deeper = None if last.depth in _DEEPER else newest(tx, ended=True, depths=_DEEPER)
    return (last,) if deeper is None else (deeper, last)


def disk_backups(tx: Transaction, backup_id: BackupId) -> dict[str, str]:
    """Return the ids of a backup's disk backups by their manifests."""
    query = sa.select(volume_backups.c.manifest, volume_backups.c.id).where(volume_backups.c.backup_id == backup_id)
    return {row.manifest: row.id for row in tx.connection.execute(query) if row.manifest is not None}
