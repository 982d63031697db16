"""Rows to test with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from restead.domain.backup import Backup, Checkpoint, ProtectedServer, Tag, VolumeBackup
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ManifestId,
    ProjectId,
    RestoreId,
    RunId,
    ServerId,
    VolumeBackupId,
    VolumeId,
)
from restead.domain.restore import Mapping, PlannedVolume, Restore, RestorePlan, RestoreRequest, VolumeRestore
from restead.domain.run import RunKind
from restead.domain.server import Server, ServerStatus, Volume
from restead.domain.states import BackupState, Event, RestoreState
from restead.records import Transaction, backups, checkpoints, restores, runs

P, Q = ProjectId("p"), ProjectId("q")
T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def server(id: str = "s", project: ProjectId = P, disks: int = 2, **changes: object) -> Server:
    volumes = tuple(Volume(VolumeId(f"{id}-v{n}"), f"disk{n}", 1000 + n, bootable=n == 0) for n in range(disks))
    made = Server(ServerId(id), project, f"name of {id}", ServerStatus.STOPPED, volumes, description={"a": [1, None]})
    return replace(made, **changes)  # type: ignore[arg-type]


def add_backup(
    tx: Transaction, id: str, on: Server | None = None, *, protected: bool = True, checkpoint: str | None = None,
    **changes: object,
) -> Backup:  # fmt: skip
    """Insert a checkpoint (unless it is there: *checkpoint*) with a backup, made already unless told otherwise."""
    on = on or server(f"server-of-{id}")
    checkpoint_id = CheckpointId(checkpoint or f"c-{id}")
    if checkpoint is None:
        protected_server = ProtectedServer(on.id, on.name, (VolumeId("left-out"),))
        checkpoints.add(
            tx,
            Checkpoint(checkpoint_id, on.project_id, BackupState.PROTECTING, tx.now, tx.now, f"plan-{id}", "a plan",
                       (protected_server,)),
        )  # fmt: skip
    volumes = tuple(
        VolumeBackup(VolumeBackupId(f"{id}-{n}"), f"{id}_{volume.name}", BackupState.PROTECTING, volume.id, volume.name,
                     volume.size, volume.bootable)
        for n, volume in enumerate(on.volumes)
    )  # fmt: skip
    backup = Backup(BackupId(id), checkpoint_id, on.project_id, f"name-{id}", "", BackupState.PROTECTING, on, tx.now,
                    tx.now, RunId(f"run-{id}"), volumes, tags=(Tag("k", "v"),))  # fmt: skip
    backups.add(tx, replace(backup, **changes))  # type: ignore[arg-type]
    runs.enqueue(tx, backup.run_id, RunKind.BACKUP, backup.id, backup.project_id)
    if protected:
        backups.move(tx, backup.id, Event.PROTECTED, lambda row: with_manifests(row, tx.now))
    return backups.backup(tx, backup.project_id, backup.id)


def with_manifests(backup: Backup, at: datetime) -> Backup:
    volumes = tuple(
        replace(volume, manifest=ManifestId(f"{backup.id}.{n}"), stored=100) for n, volume in enumerate(backup.volumes)
    )
    return replace(backup, volumes=volumes, protected_at=at, finished_at=at, progress=100)


def add_restore(tx: Transaction, id: str, backup: Backup, onto: Server | None = None) -> Restore:
    onto = onto or backup.server
    mappings = tuple(Mapping(s.id, t.id) for s, t in zip(backup.volumes, onto.volumes, strict=True))
    request = RestoreRequest(backup.checkpoint_id, backup.id, onto.id, mappings, power_on=True,
                             extensions=(("safety", False), ("verify", "stream")))  # fmt: skip
    planned = tuple(PlannedVolume(s, t) for s, t in zip(backup.volumes, onto.volumes, strict=True))
    plan = RestorePlan(backup.id, backup.checkpoint_id, onto, planned, power_on=True)
    volumes = tuple(VolumeRestore(p.source.id, p.target.id, p.source.size, p.target.size) for p in planned)
    restore = Restore(RestoreId(id), backup.project_id, request, RunId(f"run-{id}"), RestoreState.IN_PROGRESS, tx.now,
                      tx.now, volumes)  # fmt: skip
    restores.add(tx, restore, plan)
    return restore
