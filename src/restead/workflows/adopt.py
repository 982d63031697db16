"""Rows are made of what the repository holds, after they were lost or put back as they were earlier.

Every session whose manifests no row names becomes a backup again: from what stands beside the bytes of each disk, the
description of its server and what the backup was called by.  And a backup that the repository does not hold (any
more) becomes `error`, so that nobody relies on it.  Each is one transaction of its own, and whatever is done is not
done again: a crash in between leaves the rest for the next time.

Only while no service runs on the records, and nobody else works on the repository.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

from restead.domain.backup import Backup, Checkpoint, Failure, ProtectedServer, Tag, VolumeBackup
from restead.domain.errors import Code, Damaged
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ManifestId,
    RestoreId,
    RunId,
    VolumeBackupId,
    VolumeId,
    canonical_id,
    new_id,
)
from restead.domain.server import Server
from restead.domain.states import BackupState, Event
from restead.domain.stock import Settled, Settlement
from restead.records import Records, Transaction, backups, stock
from restead.records.encoding import build
from restead.repository import Manifest, ManifestEntry, Repository
from restead.workflows.at_work import drop_noted
from restead.workflows.holding import held_until
from restead.workflows.stock import Stock, server_of, take_stock
from restead.workflows.told import Told


class Adoption:
    """Brings rows and repository together."""

    def __init__(self, records: Records, repository: Repository) -> None:
        self._records = records
        self._repository = repository

    def settle(self) -> Iterator[Settled]:
        """Do it, and yield what was done as it is done.

        Raises:
            Damaged: the repository's log is.
        """
        found = take_stock(self._records, self._repository)
        told = Told.of(self._repository)
        for backup_id, lost in groupby(found.lost, key=lambda each: each.backup_id):
            yield self._lose(backup_id, [each.manifest for each in lost])
        described = self._repository.described(found.unnamed)
        for _, disks in groupby(described, key=lambda pair: pair[0].session):
            yield self._take_in(list(disks), told)
        self._end_sessions(found)

    def _lose(self, id: BackupId, lost: Sequence[ManifestId]) -> Settled:
        """Say of a backup that it cannot be restored, and forget the numbers of what is not there: they are others'."""
        reason = (
            f"the repository does not hold {', '.join(lost)}, which this backup was kept as: it is older than the "
            "lists, or the backup was deleted and the lists are older"
        )

        def change(backup: Backup) -> Backup:
            left = (replace(each, manifest=None) if each.manifest in lost else each for each in backup.volumes)
            failure = Failure(Code.INTERNAL, reason)
            return replace(backup, volumes=tuple(left), failed_operation="backup", failure=failure)

        with self._records.begin() as tx:
            moved = backups.move(tx, id, Event.LOST, change)
        return Settled(Settlement.LOST, moved.project_id, len(lost), moved.id, moved.name, reason)

    def _take_in(self, disks: Sequence[tuple[ManifestEntry, Manifest | Damaged]], told: "Told") -> Settled:
        """Make the disks of one session a backup."""
        entries = [entry for entry, _ in disks]
        project_id, run_id = entries[0].project, RunId(entries[0].session_label)
        manifests = [manifest for _, manifest in disks if isinstance(manifest, Manifest)]
        for _, manifest in disks:
            if isinstance(manifest, Damaged):
                return _left(entries, manifest.message, damaged=True)
        with self._records.begin() as tx:
            earlier = stock.of_run(tx, project_id, run_id)
            if earlier:
                return _given_back(tx, earlier, entries, manifests)
            try:
                checkpoint, backup = told.rows(tx, run_id, manifests) or _rows(tx, run_id, manifests)
            except Damaged as error:
                return _left(entries, error.message, damaged=True)
            backup = replace(backup, held_until=held_until(self._repository, backup))
            stock.adopt(tx, checkpoint, backup)
        return Settled(Settlement.ADOPTED, project_id, len(entries), backup.id, backup.name)

    def _end_sessions(self, found: Stock) -> None:
        """End what runs have left open that are over, or that no row knows any more: it keeps what nobody needs."""
        for session in list(self._repository.log.refresh().sessions.values()):
            if (session.open or session.pins) and session.label not in found.under_way:
                self._repository.end(session.number, unpin=True)
        noted = {entry.session_label for entry in self._repository.log.refresh().partial.values()}
        for label in noted - set(found.under_way):
            drop_noted(self._repository, label)


def _given_back(
    tx: Transaction, earlier: Sequence[Backup], entries: Sequence[ManifestEntry], manifests: Sequence[Manifest]
) -> Settled:
    """Give a backup in error the disks that it lacks, if these are they: it can be restored then."""
    theirs = {canonical_id(manifest.label): manifest for manifest in manifests}
    for backup in earlier:
        lacks = {canonical_id(volume.volume_id) for volume in backup.volumes if volume.manifest is None}
        if backup.state is BackupState.ERROR and lacks == set(theirs):
            moved = backups.move(tx, backup.id, Event.FOUND, lambda row: _with_disks(tx, row, theirs))
            return Settled(Settlement.FOUND, moved.project_id, len(entries), moved.id, moved.name)
    which = ", ".join(f"{backup.id} ({backup.state.value})" for backup in earlier)
    return _left(entries, f"backup {which} is of the same run, and does not lack them")


def _with_disks(tx: Transaction, backup: Backup, found: dict[str, Manifest]) -> Backup:
    volumes = tuple(
        replace(volume, manifest=manifest.id, size=manifest.size, read=manifest.size)
        if (manifest := found.get(canonical_id(volume.volume_id))) is not None
        else volume
        for volume in backup.volumes
    )
    about = next(iter(found.values())).description
    return replace(
        backup, volumes=volumes, protected_at=about.taken_at, consistency=about.consistency, progress=100,
        finished_at=backup.finished_at or tx.now, failed_operation="", failure=None,
    )  # fmt: skip


def _rows(tx: Transaction, run_id: RunId, manifests: Sequence[Manifest]) -> tuple[Checkpoint, Backup]:
    """Return the rows that a session's manifests make, with the ids they had if these are free.

    Raises:
        Damaged: what stands beside the bytes is not what this program writes there.
    """
    about = manifests[0].description
    try:
        server = server_of(manifests)
        kept: Any = about.server.get("backup", {})
        backup = Backup(
            id=BackupId(kept.get("id") or new_id()),
            checkpoint_id=CheckpointId(kept.get("checkpoint_id") or new_id()),
            project_id=manifests[0].project,
            state=BackupState.AVAILABLE,
            server=server,
            updated_at=tx.now,
            run_id=run_id,
            protected_at=max(manifest.description.taken_at for manifest in manifests),
            finished_at=tx.now,
            consistency=about.consistency,
            progress=100,
            **_called(tx, about.server, kept),
        )
        backup = replace(backup, volumes=_volumes(backup.name, server, manifests))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"what stands beside the bytes cannot be read: {error!r}") from error
    if not stock.is_free(tx, backup):
        fresh = tuple(replace(volume, id=VolumeBackupId(new_id())) for volume in backup.volumes)
        backup = replace(backup, id=BackupId(new_id()), checkpoint_id=CheckpointId(new_id()), volumes=fresh)
    return checkpoint_of(tx, backup), backup


def _called(tx: Transaction, about: Any, kept: Any) -> dict[str, Any]:
    """Return what is known of a backup besides its server and its disks."""
    if "restore" in about:
        restore_id = RestoreId(about["restore"])
        # From now on it has the time that such a backup has: when it was made, nobody may have had the records.
        return {
            "name": f"prerestore_{secrets.token_hex(2)}", "description": f"what restore {restore_id} has overwritten",
            "created_at": tx.now, "safety_of": restore_id,
        }  # fmt: skip
    if not kept:
        return {"name": f"adopted_{secrets.token_hex(2)}", "description": "", "created_at": tx.now}
    return {
        "name": kept["name"],
        "description": kept["description"],
        "created_at": datetime.fromisoformat(kept["created_at"]),
        "tags": tuple(build(Tag, tag) for tag in kept["tags"]),
        "excluded": tuple(map(VolumeId, kept["excluded"])),
        "full": bool(kept["full"]),
    }


def _volumes(name: str, server: Server, manifests: Sequence[Manifest]) -> tuple[VolumeBackup, ...]:
    return tuple(
        VolumeBackup(
            id=VolumeBackupId(kept.get("disk_backup_id") or new_id()),
            name=f"{name}_{volume.name}",
            state=BackupState.AVAILABLE,
            volume_id=volume.id,
            volume_name=volume.name,
            size=manifest.size,
            bootable=manifest.description.role == "system",
            incremental=bool(kept.get("incremental", False)),
            read=manifest.size,
            manifest=manifest.id,
        )
        for volume, manifest, kept in zip(server.volumes, manifests, map(_kept_of, manifests), strict=True)
    )


def _kept_of(manifest: Manifest) -> Any:
    return manifest.description.server.get("backup", {})


def checkpoint_of(tx: Transaction, backup: Backup) -> Checkpoint:
    """Return the checkpoint of a backup that no run has made."""
    server = backup.server
    return Checkpoint(
        id=backup.checkpoint_id,
        project_id=backup.project_id,
        state=BackupState.AVAILABLE,
        created_at=backup.created_at,
        updated_at=tx.now,
        plan_id=f"fake_{new_id()}",  # CSBS, section 2.1: what a manual backup has for a policy
        plan_name=f"server protect plan for {server.id}",
        servers=(ProtectedServer(server.id, server.name, backup.excluded),),
    )


def _left(entries: Sequence[ManifestEntry], reason: str, *, damaged: bool = False) -> Settled:
    which = ", ".join(entry.id for entry in entries)
    return Settled(Settlement.LEFT, entries[0].project, len(entries), reason=f"{which}: {reason}", damaged=damaged)
