"""A request to put a server's disks back, the proof that it can be done, and how far it is."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from restead.domain.backup import SERVER_TYPE, Backup, Failure, VolumeBackup
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
    canonical_id,
    same_id,
)
from restead.domain.server import Kind, Server, ServerStatus, Volume
from restead.domain.states import BackupState, RestorePhase, RestoreState, VolumeOutcome


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which disk backup goes to which disk."""

    volume_backup_id: VolumeBackupId
    volume_id: VolumeId


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What a caller asked for; types and shapes are checked already."""

    checkpoint_id: CheckpointId
    backup_id: BackupId
    server_id: ServerId
    mappings: tuple[Mapping, ...]
    power_on: bool = False
    server_type: str = SERVER_TYPE
    restore_target: str | None = None
    extensions: tuple[tuple[str, bool | str], ...] = ()  # the [E] members that were sent, to be echoed

    @property
    def allow_partial(self) -> bool:
        return ("allow_partial", True) in self.extensions

    @property
    def safety(self) -> bool:
        """Whether what is overwritten is kept in a safety checkpoint."""
        return ("safety", False) not in self.extensions

    @property
    def salvage(self) -> bool:
        """Whether what is lost in the repository becomes zeroes, instead of the restore being refused."""
        return ("salvage", True) in self.extensions

    @property
    def readback(self) -> bool:
        """Whether every disk is read again, past all caches, before the restore is a success."""
        return ("verify", "readback") in self.extensions


@dataclass(frozen=True, slots=True)
class PlannedVolume:
    """One disk of a plan: this disk backup overwrites that disk."""

    source: VolumeBackup
    target: Volume

    @property
    def wanted(self) -> ManifestId:
        """What the target is to hold."""
        assert self.source.manifest is not None  # an available backup has one for each disk
        return self.source.manifest


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """A restore proven possible; doing it needs no further decision."""

    backup_id: BackupId
    checkpoint_id: CheckpointId
    server: Server
    volumes: tuple[PlannedVolume, ...]
    power_on: bool

    @property
    def stops_server(self) -> bool:
        return self.server.status is ServerStatus.RUNNING

    @property
    def server_actions(self) -> tuple[str, ...]:
        """What is done with the server, in order: "stop", "start"."""
        return ("stop",) * self.stops_server + ("start",) * self.power_on


@dataclass(frozen=True, slots=True)
class Comparison:
    """What restoring one disk takes, found by reading it.  All in bytes of disk, exact."""

    kept: int  # right already
    to_write: int
    to_zero: int
    to_save: int  # of what is overwritten: what the repository does not know yet
    damaged: tuple[tuple[int, int], ...] = ()  # (offset, length) of what is wanted and lost: zeroes, in a salvage


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """What a restore would do to one disk."""

    backup_id: VolumeBackupId
    volume_id: VolumeId
    size: int  # bytes of the backup
    target_size: int  # bytes of the disk; what lies behind *size* is cleared
    to_write_at_most: int  # bytes
    kept: int | None = None  # these are None unless the disk was compared
    to_write: int | None = None
    to_zero: int | None = None
    to_save: int | None = None
    damaged: tuple[tuple[int, int], ...] | None = None  # (offset, length) of what is needed and lost
    known_lost: "KnownLost | None" = None


@dataclass(frozen=True, slots=True)
class KnownLost:
    """What a verification has found lost of a disk backup.  The disk may hold it still, or a backup since then."""

    found_at: datetime  # when that verification began
    size: int  # bytes
    ranges: tuple[tuple[int, int], ...]  # (offset, length); of very many only the first


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a restore would do (CSBS, section 9.4)."""

    server_id: ServerId
    server_actions: tuple[str, ...]
    volumes: tuple[VolumePlan, ...]


@dataclass(frozen=True, slots=True)
class RestoreStats:
    """What a restore has done so far, in bytes over all disks."""

    total: int = 0  # of the target disks: in the end kept, written and zeroed together
    kept: int = 0  # already right
    written: int = 0
    zeroed: int = 0
    fetched: int = 0  # read from the repository
    saved: int = 0  # stored for undo
    verified: int = 0
    seconds_left: int | None = None
    bytes_per_second: int = 0


@dataclass(frozen=True, slots=True)
class VolumeRestore:
    """How far one target disk is."""

    volume_backup_id: VolumeBackupId
    volume_id: VolumeId
    size: int  # bytes of the backup
    target_size: int  # bytes of the disk, >= size
    outcome: VolumeOutcome = VolumeOutcome.WAITING
    ranges: tuple[tuple[int, int], ...] = ()  # (offset, length): where the disk does not hold what it should
    progress: int = 0
    reason: str = ""
    mark: int = 0  # bytes: up to there everything is as wanted, and flushed
    lost: tuple[tuple[int, int], ...] = ()  # (offset, length) of the backup that are lost: a salvage zeroes them
    identity: str = ""  # of the disk whose contents were compared, as its driver tells it; "": it cannot


@dataclass(frozen=True, slots=True)
class Restore:
    """A restoration task."""

    id: RestoreId
    project_id: ProjectId
    request: RestoreRequest
    run_id: RunId
    state: RestoreState
    created_at: datetime
    updated_at: datetime
    volumes: tuple[VolumeRestore, ...]
    finished_at: datetime | None = None
    progress: int = 0
    server_reason: str = ""  # why the server is not as wanted, "" if it is
    failure: Failure | None = None
    stats: RestoreStats = field(default=RestoreStats())
    phase: RestorePhase = RestorePhase.ACCEPTED
    session: int | None = None  # in the repository: it keeps what is wanted and what was there
    safety_checkpoint_id: CheckpointId | None = None  # holds what was overwritten
    undo_of: RestoreId | None = None
    cancelled: bool = False  # somebody asked for that in time
    throttle: int | None = None  # bytes per second, None: as fast as it goes


ZoneRule = Callable[[str, str], bool]
"""(zone of the backup, zone of the target) -> whether the operator allows that restore."""


def any_zone(_source: str, _target: str) -> bool:
    return True


def check_distinct(mappings: Sequence[Mapping]) -> None:
    """Return if there is a mapping and no disk backup and no disk stands in two of them (condition 1 of 9.3)."""
    if not mappings:
        raise InvalidRequest("volumes: at least one mapping of a disk backup to a disk is needed, 0 were given")
    for name, ids in (
        ("backup_id", [canonical_id(m.volume_backup_id) for m in mappings]),
        ("volume_id", [canonical_id(m.volume_id) for m in mappings]),
    ):
        id, times = Counter(ids).most_common(1)[0]
        if times > 1:
            raise InvalidRequest(f"volumes: {name} {id} appears {times} times, it may appear once")


def plan_restore(
    request: RestoreRequest,
    backup: Backup,
    server: Server | None,
    *,
    busy: str | None,
    zones: ZoneRule = any_zone,
) -> RestorePlan:
    """Return the plan, or raise for the first of conditions 4 to 19 of CSBS section 9.3 that does not hold.

    *server*: the target as its cloud describes it, None if the project has none.  *busy*: the restore or backup
    under way on it, for people, None if nothing is.

    Raises:
        InvalidRequest: with the condition's code and a message with the objects and both numbers.
    """
    _check_backup(request, backup)
    if server is None:
        raise InvalidRequest(f"server {request.server_id} does not exist", code=Code.SERVER_NOT_FOUND)
    _check_server(backup, server, busy)
    _check_volume_backups(request, backup)
    volumes = tuple(_plan_volume(backup, server, mapping) for mapping in request.mappings)
    _check_volumes(volumes)
    if not zones(backup.server.zone, server.zone):
        raise InvalidRequest(
            f"backup {backup.id} is from zone {backup.server.zone!r} and server {server.id} is in zone "
            f"{server.zone!r}; restores between them are not allowed here",
            code=Code.ZONES_DO_NOT_MATCH,
        )
    _check_power(request, server)
    return RestorePlan(backup.id, backup.checkpoint_id, server, volumes, request.power_on)


def _check_backup(request: RestoreRequest, backup: Backup) -> None:
    if backup.state is not BackupState.AVAILABLE or not backup.restorable:
        raise InvalidRequest(
            f"backup {backup.id} is {backup.state.value}; only an available one can be restored",
            code=Code.NOT_RESTORABLE,
        )
    if request.server_type != SERVER_TYPE:
        raise InvalidRequest(
            f"a target of type {request.server_type[:64]!r} cannot be restored, only {SERVER_TYPE}",
            code=Code.TYPE_NOT_RESTORABLE,
        )


def _check_server(backup: Backup, server: Server, busy: str | None) -> None:
    if server.kind is not Kind.VIRTUAL:
        raise InvalidRequest(
            f"server {server.id} is {server.kind.value}; only virtual servers are restored",
            code=Code.SERVER_KIND_NOT_RESTORABLE,
        )
    if server.disks_at:
        raise InvalidRequest(f"server {server.id} {server.elsewhere}", code=Code.SERVER_KIND_NOT_RESTORABLE)
    kinds = (backup.server.kind, backup.server.architecture), (server.kind, server.architecture)
    if kinds[0] != kinds[1]:
        raise InvalidRequest(
            f"backup {backup.id} is of a {kinds[0][0].value} {kinds[0][1]} server and server {server.id} is "
            f"{kinds[1][0].value} {kinds[1][1]}",
            code=Code.DIFFERENT_KINDS,
        )
    if server.status not in (ServerStatus.RUNNING, ServerStatus.STOPPED):
        raise InvalidRequest(
            f"server {server.id} {server.unfit}",
            code=Code.SERVER_STATE_FORBIDS_RESTORE,
        )
    if busy:
        raise InvalidRequest(f"server {server.id} is busy: {busy}", code=Code.SERVER_STATE_FORBIDS_RESTORE)
    if not server.volumes:
        raise InvalidRequest(f"server {server.id} has no disk", code=Code.SERVER_WITHOUT_DISK)


def _check_volume_backups(request: RestoreRequest, backup: Backup) -> None:
    for mapping in request.mappings:
        if backup.volume(mapping.volume_backup_id) is None:
            raise InvalidRequest(
                f"disk backup {mapping.volume_backup_id} is not in backup {backup.id}",
                code=Code.VOLUME_BACKUP_NOT_IN_BACKUP,
            )
    if request.allow_partial:
        return
    for volume in backup.volumes:
        if not any(same_id(volume.id, mapping.volume_backup_id) for mapping in request.mappings):
            raise InvalidRequest(
                f"disk backup {volume.id} ({volume.volume_name}) of backup {backup.id} is not mapped: "
                f"{len(request.mappings)} of {len(backup.volumes)} are, and a backup is restored whole",
                code=Code.VOLUME_BACKUP_NOT_MAPPED,
            )


def _plan_volume(backup: Backup, server: Server, mapping: Mapping) -> PlannedVolume:
    source, target = backup.volume(mapping.volume_backup_id), server.volume(mapping.volume_id)
    assert source is not None  # _check_volume_backups has seen it
    if target is None:
        raise InvalidRequest(
            f"disk {mapping.volume_id} is not attached to server {server.id}", code=Code.VOLUME_NOT_ATTACHED
        )
    return PlannedVolume(source, target)


def _check_volumes(volumes: Sequence[PlannedVolume]) -> None:
    for volume in volumes:
        if volume.target.shared:
            raise InvalidRequest(
                f"disk {volume.target.id} is shared with other servers and is not overwritten",
                code=Code.TARGET_SHAREABLE,
            )
    for volume in volumes:
        if volume.target.bootable and not volume.source.bootable:
            raise InvalidRequest(
                f"disk backup {volume.source.id} is of a data disk and disk {volume.target.id} is the system disk",
                code=Code.DATA_TO_SYSTEM_DISK,
            )
    for volume in volumes:
        if volume.target.size < volume.source.size:
            raise InvalidRequest(
                f"disk {volume.target.id} holds {volume.target.size} bytes, disk backup {volume.source.id} "
                f"needs {volume.source.size}",
                code=Code.TARGET_TOO_SMALL,
            )


def _check_power(request: RestoreRequest, server: Server) -> None:
    if server.status is ServerStatus.RUNNING and not server.can_stop:
        raise InvalidRequest(
            f"server {server.id} is running and cannot be stopped from here: stop it yourself",
            code=Code.SERVER_KIND_NOT_RESTORABLE,
        )
    if request.power_on and not server.can_start:
        raise InvalidRequest(
            f"server {server.id} cannot be started from here: send power_on false and start it yourself",
            code=Code.SERVER_KIND_NOT_RESTORABLE,
        )
