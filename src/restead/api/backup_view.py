"""A backup of one server as clients read it (`checkpoint_item`)."""

from datetime import timedelta
from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from restead.api.answers import (
    GB,
    KB,
    MB,
    FailCode,
    Link,
    Percent,
    Time,
    Whole,
    fail_code,
    one_of,
    rounded,
    rounded_up,
    status,
    time,
    time_or_null,
)
from restead.domain.backup import SERVER_TYPE, Backup, VolumeBackup
from restead.domain.server import Server
from restead.domain.states import BackupState

BackupData = TypedDict(
    "BackupData",
    {
        "__openstack_region_name": str,
        "cloudservicetype": str,
        "disk": Whole,
        "imagetype": Annotated[str, one_of("gold", "private", "market", "")],
        "ram": Whole,
        "vcpus": Whole,
        "eip": str,
        "private_ip": str,
    },
)
BackupData.__doc__ = "The server as it was."


class VolumeBackupView(TypedDict):
    """One disk inside a backup."""

    id: str
    name: str
    status: Annotated[str, one_of("protecting", "available", "error", "deleting")]
    bootable: bool
    image_type: str
    incremental: bool
    size: Whole
    average_speed: Whole
    space_saving_ratio: Percent
    snapshot_id: str | None
    source_volume_id: str
    source_volume_name: str
    source_volume_size: Whole


class ImageView(TypedDict):
    """An image that was registered from a backup."""

    image_id: str


class ExtendInfo(TypedDict):
    """All that is known about a backup besides its name."""

    auto_trigger: bool
    average_speed: Whole
    copy_from: None
    copy_status: Annotated[str, one_of("na")]
    fail_code: FailCode
    fail_op: Annotated[str, one_of("", "backup", "restore", "delete")]
    fail_reason: str
    image_type: Annotated[str, one_of("backup")]
    incremental: bool
    progress: Percent
    resource_az: str
    resource_name: str
    resource_type: str
    size: Whole
    space_saving_ratio: Percent
    volume_backups: list[VolumeBackupView]
    finished_at: Time | None
    os_images_data: list[ImageView]
    taskid: str
    hypervisor_type: str
    supported_restore_mode: Annotated[str, one_of("backup", "na")]
    support_lld: bool
    consistency: Annotated[str, one_of("", "crash", "filesystem", "offline")]
    held_until: Time | None
    guest_pause_us: Whole | None


class TagView(TypedDict):
    """A tag."""

    key: str
    value: str


class BackupView(TypedDict):
    """One server inside a backup record."""

    id: str
    checkpoint_id: str
    name: str
    description: str
    status: Annotated[str, one_of("protecting", "available", "restoring", "deleting", "error")]
    resource_id: str
    resource_type: str
    created_at: Time
    updated_at: Time
    protected_at: Time | None
    backup_data: BackupData
    extend_info: ExtendInfo
    tags: list[TagView]


class BackupBody(TypedDict):
    """One backup."""

    checkpoint_item: BackupView


class BackupList(TypedDict):
    """A page of backups."""

    checkpoint_items: list[BackupView]
    checkpoint_items_links: NotRequired[list[Link]]


class BackupCount(TypedDict):
    """How many backups match."""

    count: Whole


def view(backup: Backup) -> BackupView:
    """Return a backup as clients read it, whole."""
    return {
        "id": backup.id,
        "checkpoint_id": backup.checkpoint_id,
        "name": backup.name,
        "description": backup.description,
        "status": status(backup.state),
        "resource_id": backup.server.id,
        "resource_type": SERVER_TYPE,
        "created_at": time(backup.created_at),
        "updated_at": time(backup.updated_at),
        "protected_at": time_or_null(backup.protected_at),
        "backup_data": _backup_data(backup.server),
        "extend_info": _extend_info(backup),
        "tags": [{"key": tag.key, "value": tag.value} for tag in backup.tags],
    }


def _backup_data(server: Server) -> BackupData:
    return {
        "__openstack_region_name": server.region,
        "cloudservicetype": server.virtualisation,
        "disk": 0,  # CSBS 2.3: "0 for a server that boots from a volume", as all of ours do
        "imagetype": "",
        "ram": server.memory,
        "vcpus": server.cpus,
        "eip": server.public_address,
        "private_ip": server.private_address,
    }


def _extend_info(backup: Backup) -> ExtendInfo:
    volumes = [_volume(volume) for volume in backup.volumes]
    return {
        "auto_trigger": backup.auto_trigger,
        "average_speed": _average_speed(backup),
        "copy_from": None,
        "copy_status": "na",
        "fail_code": fail_code(backup.failure),
        "fail_op": backup.failed_operation,
        "fail_reason": backup.failure.message if backup.failure else "",
        "image_type": "backup",
        "incremental": backup.incremental,
        "progress": 100 if backup.state is BackupState.AVAILABLE else backup.progress,
        "resource_az": backup.server.zone,
        "resource_name": backup.server.name,
        "resource_type": SERVER_TYPE,
        "size": sum(volume["size"] for volume in volumes),
        "space_saving_ratio": _saved(backup),
        "volume_backups": volumes,
        "finished_at": time_or_null(backup.finished_at),
        "os_images_data": [],
        "taskid": backup.run_id,
        "hypervisor_type": backup.server.virtualisation,
        "supported_restore_mode": "backup" if backup.restorable else "na",
        "support_lld": False,
        "consistency": backup.consistency,
        "held_until": time_or_null(backup.held_until),
        "guest_pause_us": backup.guest_pause_us,
    }


def _volume(volume: VolumeBackup) -> VolumeBackupView:
    return {
        "id": volume.id,
        "name": volume.name,
        "status": status(volume.state),
        "bootable": volume.bootable,
        "image_type": "backup",
        "incremental": volume.incremental,
        "size": rounded(volume.stored, MB),
        "average_speed": rounded(volume.bytes_per_second, MB),
        "space_saving_ratio": 0 if _unfinished(volume) else volume.saved_percent,
        "snapshot_id": volume.snapshot_id,
        "source_volume_id": volume.volume_id,
        "source_volume_name": volume.volume_name,
        "source_volume_size": rounded_up(volume.size, GB),
    }


def _unfinished(volume: VolumeBackup) -> bool:
    """Whether what was stored of it says nothing yet about what was saved."""
    return volume.state in (BackupState.PROTECTING, BackupState.ERROR)


def _saved(backup: Backup) -> int:
    """Return the percentage saved over all disks, as each disk counts it."""
    size = sum(volume.size for volume in backup.volumes)
    if not size or any(_unfinished(volume) for volume in backup.volumes):
        return 0
    return max(0, min(100, 100 - sum(volume.stored for volume in backup.volumes) * 100 // size))


def _average_speed(backup: Backup) -> int:
    """Return kB/s over the whole backup, 0 while unknown."""
    if backup.finished_at is None:
        return 0
    seconds = (backup.finished_at - (backup.protected_at or backup.created_at)) / timedelta(seconds=1)
    read = sum(volume.read for volume in backup.volumes)
    return rounded(round(read / seconds), KB) if seconds > 0 else 0
