"""What was backed up, and when a server may be.

A checkpoint is one run of a backup; a backup is one server in it; a volume backup is one disk of that.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from restead.domain.errors import Code, InvalidRequest
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
    same_id,
)
from restead.domain.server import Kind, Server, ServerStatus, Volume
from restead.domain.states import BackupState
from restead.domain.tag import Tag as Tag

SERVER_TYPE = "OS::Nova::Server"
VOLUME_TYPE = "OS::Cinder::Volume"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed, as a client may see it."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class ProtectedServer:
    """A server as a checkpoint names it."""

    id: ServerId
    name: str
    excluded: tuple[VolumeId, ...] = ()  # disks that were left out


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One run of a backup: one moment, one or more servers (CSBS: backup record)."""

    id: CheckpointId
    project_id: ProjectId
    state: BackupState
    created_at: datetime
    updated_at: datetime
    plan_id: str
    plan_name: str
    servers: tuple[ProtectedServer, ...]
    extra_info: str | None = None


@dataclass(frozen=True, slots=True)
class VolumeBackup:
    """One disk inside a backup."""

    id: VolumeBackupId
    name: str
    state: BackupState
    volume_id: VolumeId
    volume_name: str
    size: int  # bytes, exact, of the disk
    bootable: bool
    incremental: bool = False
    stored: int = 0  # bytes this backup added to the repository
    read: int = 0  # bytes looked at, holes included
    bytes_per_second: int = 0
    snapshot_id: str | None = None
    manifest: ManifestId | None = None

    @property
    def saved_percent(self) -> int:
        """How much less was stored than the disk holds, 0-100."""
        return max(0, min(100, 100 - self.stored * 100 // self.size)) if self.size else 0


@dataclass(frozen=True, slots=True)
class Backup:
    """One server inside a checkpoint (CSBS: checkpoint_item)."""

    id: BackupId
    checkpoint_id: CheckpointId
    project_id: ProjectId
    name: str
    description: str
    state: BackupState
    server: Server  # as it was when the backup began
    created_at: datetime
    updated_at: datetime
    run_id: RunId
    volumes: tuple[VolumeBackup, ...] = ()  # boot disk first; () until they are known
    full: bool = False  # the caller asked for no parent
    consistency_wanted: str = "best"  # or "filesystem"
    excluded: tuple[VolumeId, ...] = ()
    protected_at: datetime | None = None
    finished_at: datetime | None = None
    consistency: str = ""
    progress: int = 0
    failed_operation: str = ""  # backup, restore, delete: the operation that failed last
    failure: Failure | None = None
    auto_trigger: bool = False
    tags: tuple[Tag, ...] = field(default=())
    safety_of: RestoreId | None = None  # the restore before which it was made, to undo it
    held_until: datetime | None = None  # before then nobody can delete it
    guest_pause_us: int | None = None  # microseconds for which the guest stood still; None: it did not run
    policy_id: str | None = None  # whose run made it
    scheduled_at: datetime | None = None  # the time of its schedule; None: nobody's schedule made it

    @property
    def restorable(self) -> bool:
        """Whether its restore mode is `backup` rather than `na`."""
        return self.state in (BackupState.AVAILABLE, BackupState.RESTORING)

    @property
    def incremental(self) -> bool:
        """Whether only changes against an earlier one were stored, of every disk."""
        return bool(self.volumes) and all(volume.incremental for volume in self.volumes)

    def volume(self, id: VolumeBackupId) -> VolumeBackup | None:
        return next((volume for volume in self.volumes if same_id(volume.id, id)), None)


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What a caller asked to have backed up; types and shapes are checked already."""

    server_id: ServerId
    server_type: str = SERVER_TYPE
    name: str = ""
    description: str = ""
    full: bool = False
    consistency: str = "best"
    tags: tuple[Tag, ...] = ()
    excluded: tuple[VolumeId, ...] = ()


def check_hold(backup: Backup, until: datetime, now: datetime) -> None:
    """Return if the backup can be held until then.

    Raises:
        InvalidRequest: that is past, or shorter than it is held already; or the backup is being made, deleted, or
            in error.
    """
    if until <= now:
        raise InvalidRequest(f"hold.until: {until:%Y-%m-%d %H:%M:%S} UTC is past")
    if backup.held_until is not None and until < backup.held_until:
        raise InvalidRequest(
            f"hold.until: backup {backup.id} is held until {backup.held_until:%Y-%m-%d %H:%M:%S} UTC already; a hold "
            f"can be made longer, never shorter: {until:%Y-%m-%d %H:%M:%S} UTC"
        )
    if not backup.restorable:
        raise InvalidRequest(
            f"backup {backup.id} is {backup.state.value}; only one that can be restored is held", code=Code.IN_PROGRESS
        )


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """A backup proven possible: this server, these disks."""

    server: Server
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True)
class BackupRules:
    """What an operator allows."""

    shared_disks: bool = True


def plan_backup(
    request: BackupRequest, server: Server | None, *, busy: str | None, rules: BackupRules = BackupRules()
) -> BackupPlan:
    """Return the plan, or raise for the first condition of CSBS section 5 that does not hold.

    *server*: as its cloud describes it, None if the project has none.  *busy*: what is under way on it,
    for people ("restore 1f…"), None if nothing is.

    Raises:
        InvalidRequest: with the code of the condition; nothing was changed.
    """
    if request.server_type != SERVER_TYPE:
        raise InvalidRequest(
            f"resources of type {request.server_type[:64]!r} cannot be backed up, only {SERVER_TYPE}",
            code=Code.TYPE_NOT_PROTECTABLE,
        )
    if server is None:
        raise InvalidRequest(f"server {request.server_id} does not exist", code=Code.SERVER_NOT_FOUND)
    _check_state(server, busy)
    volumes = _volumes_to_back_up(request, server)
    shared = next((volume for volume in volumes if volume.shared), None)
    if shared is not None and not rules.shared_disks:
        raise InvalidRequest(
            f"disk {shared.id} of server {server.id} is shared, and shared disks are not backed up here",
            code=Code.SHARED_DISK,
        )
    return BackupPlan(server=replace(server, volumes=volumes), volumes=volumes)


def _check_state(server: Server, busy: str | None) -> None:
    if server.status is ServerStatus.DELETING:
        raise InvalidRequest(f"server {server.id} is being destroyed", code=Code.SERVER_BEING_DESTROYED)
    if server.status not in (ServerStatus.RUNNING, ServerStatus.STOPPED):
        raise InvalidRequest(
            f"server {server.id} {server.unfit}",
            code=Code.SERVER_STATE_FORBIDS_BACKUP,
        )
    if busy:
        raise InvalidRequest(f"server {server.id} is busy: {busy}", code=Code.SERVER_STATE_FORBIDS_BACKUP)
    if server.kind is not Kind.VIRTUAL:
        raise InvalidRequest(
            f"server {server.id} is {server.kind.value}; only virtual servers are backed up",
            code=Code.SERVER_KIND_NOT_PROTECTABLE,
        )
    if server.disks_at:
        raise InvalidRequest(f"server {server.id} {server.elsewhere}", code=Code.SERVER_KIND_NOT_PROTECTABLE)
    if server.status is ServerStatus.RUNNING and not server.can_back_up_running:
        raise InvalidRequest(
            f"server {server.id} is running and its disks can only be read at one moment while it is stopped: "
            f"stop it (restead server stop {server.name}), back it up, start it again",
            code=Code.SERVER_STATE_FORBIDS_BACKUP,
        )


def _volumes_to_back_up(request: BackupRequest, server: Server) -> tuple[Volume, ...]:
    if not server.volumes:
        raise InvalidRequest(f"server {server.id} has no disk to back up", code=Code.NO_DISK_TO_BACK_UP)
    for excluded in request.excluded:
        if server.volume(excluded) is None:
            raise InvalidRequest(f"exclude_volumes: disk {excluded} is not attached to server {server.id}")
    left = tuple(v for v in server.volumes if not any(same_id(v.id, excluded) for excluded in request.excluded))
    if not left:
        raise InvalidRequest(
            f"exclude_volumes leaves out every disk of server {server.id}; one must remain",
            code=Code.NO_DISK_TO_BACK_UP,
        )
    return left
