"""A backup as it is promised: in the lists from the moment it is asked for, with nothing in it yet."""

import secrets
from dataclasses import replace
from datetime import datetime

from restead.domain.backup import Backup, BackupPlan, BackupRequest, Checkpoint, Failure, VolumeBackup
from restead.domain.ids import BackupId, RunId, VolumeBackupId, new_id
from restead.domain.server import Server, Volume
from restead.domain.states import BackupState


def new_backup(checkpoint: Checkpoint, request: BackupRequest, plan: BackupPlan, now: datetime) -> Backup:
    """Return the backup that *plan* makes in *checkpoint*, as it is before its run begins."""
    made = _bare(checkpoint, request, plan.server, now)
    volumes = tuple(new_volume_backup(volume, made.name, BackupState.PROTECTING) for volume in plan.volumes)
    return replace(made, volumes=volumes)


def new_volume_backup(volume: Volume, backup_name: str, state: BackupState) -> VolumeBackup:
    """Return the backup of one disk, in a backup of that name, before anything is known of what is stored."""
    return VolumeBackup(
        id=VolumeBackupId(new_id()), name=f"{backup_name}_{volume.name}", state=state, volume_id=volume.id,
        volume_name=volume.name, size=volume.size, bootable=volume.bootable,
    )  # fmt: skip


def failed_backup(
    checkpoint: Checkpoint, request: BackupRequest, server: Server, failure: Failure, now: datetime
) -> Backup:
    """Return the backup that could not even begin."""
    return replace(
        _bare(checkpoint, request, server, now), state=BackupState.ERROR, finished_at=now, failure=failure,
        failed_operation="backup",
    )  # fmt: skip


def _bare(checkpoint: Checkpoint, request: BackupRequest, server: Server, now: datetime) -> Backup:
    return Backup(
        id=BackupId(new_id()),
        checkpoint_id=checkpoint.id,
        project_id=checkpoint.project_id,
        name=request.name or f"manualbk_{secrets.token_hex(2)}",
        description=request.description,
        state=BackupState.PROTECTING,
        server=server,
        created_at=now,
        updated_at=now,
        run_id=RunId(new_id()),
        full=request.full,
        consistency_wanted=request.consistency,
        excluded=request.excluded,
        tags=request.tags,
    )
