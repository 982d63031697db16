"""The safety checkpoint: what stood on the target disks, as an ordinary backup that undoes the restore."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from restead.domain.backup import Backup, Checkpoint, ProtectedServer, VolumeBackup
from restead.domain.ids import BackupId, CheckpointId, ManifestId, new_id
from restead.domain.promise import new_volume_backup
from restead.domain.restore import PlannedVolume, Restore, RestorePlan
from restead.domain.states import BackupState
from restead.ports import Consistency
from restead.records import Transaction, backups, checkpoints
from restead.repository import Survey


def add_safety_checkpoint(
    tx: Transaction, restore: Restore, plan: RestorePlan, surveys: Sequence[Survey], manifests: Sequence[ManifestId]
) -> CheckpointId:
    """Write the rows of what was committed: one backup of the target server, with the disks of this restore alone."""
    server = replace(plan.server, volumes=tuple(volume.target for volume in plan.volumes))
    checkpoint = Checkpoint(
        id=CheckpointId(new_id()),
        project_id=restore.project_id,
        state=BackupState.AVAILABLE,
        created_at=tx.now,
        updated_at=tx.now,
        plan_id=f"fake_{new_id()}",  # CSBS, section 2.1: what a manual backup has for a policy
        plan_name=f"server protect plan for {server.id}",
        servers=(ProtectedServer(server.id, server.name),),
    )
    name = f"prerestore_{secrets.token_hex(2)}"
    backup = Backup(
        id=BackupId(new_id()),
        checkpoint_id=checkpoint.id,
        project_id=restore.project_id,
        name=name,
        description=f"what restore {restore.id} has overwritten",
        state=BackupState.AVAILABLE,
        server=server,
        created_at=tx.now,
        updated_at=tx.now,
        run_id=restore.run_id,
        volumes=tuple(map(_volume, [name] * len(surveys), plan.volumes, surveys, manifests)),
        protected_at=tx.now,
        finished_at=tx.now,
        consistency=Consistency.OFFLINE.value,
        progress=100,
        safety_of=restore.id,
    )
    checkpoints.add(tx, checkpoint)
    backups.add(tx, backup)
    return checkpoint.id


def _volume(name: str, planned: PlannedVolume, survey: Survey, manifest: ManifestId) -> VolumeBackup:
    return replace(
        new_volume_backup(planned.target, name, BackupState.AVAILABLE),
        size=survey.size,
        incremental=True,  # against what the restore writes
        stored=survey.count.stored,
        read=survey.size,
        manifest=manifest,
    )
