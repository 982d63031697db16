"""A restoration task as clients read it."""

from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from restead.api.answers import FailCode, Link, Percent, Time, Whole, fail_code, one_of, time, time_or_null
from restead.api.auth import PROVIDER_ID
from restead.domain.backup import SERVER_TYPE, VOLUME_TYPE
from restead.domain.restore import Restore, RestoreRequest, RestoreStats, VolumeRestore
from restead.domain.states import RestoreState, VolumeOutcome


class MappingView(TypedDict):
    """Which disk backup overwrites which disk."""

    backup_id: str
    volume_id: str


class TargetsView(TypedDict):
    """The server that is restored and its disks."""

    server_id: str
    volumes: list[MappingView]


class ParametersView(TypedDict):
    """What was asked for, normalised; the last four only if they were sent."""

    checkpoint_item_id: str
    power_on: bool
    targets: TargetsView
    allow_partial: NotRequired[bool]
    safety: NotRequired[bool]
    salvage: NotRequired[bool]
    verify: NotRequired[Annotated[str, one_of("stream", "readback")]]


class VolumeRestoreView(TypedDict):
    """How far one disk is."""

    backup_id: str
    volume_id: str
    outcome: Annotated[str, one_of("waiting", "restoring", "restored", "put_back", "untouched", "damaged")]
    ranges: list[list[Whole]]
    progress: Percent


class StatsView(TypedDict):
    """Bytes over all disks."""

    total: Whole
    kept: Whole
    written: Whole
    zeroed: Whole
    fetched: Whole
    saved: Whole
    verified: Whole
    seconds_left: Whole | None
    bytes_per_second: Whole


class RestoreView(TypedDict):
    """A restoration task."""

    id: str
    project_id: str
    provider_id: str
    checkpoint_id: str
    restore_target: str
    status: Annotated[str, one_of("in_progress", "success", "fail")]
    parameters: ParametersView
    resources_status: dict[str, Annotated[str, one_of("restoring", "available", "error")]]
    resources_reason: dict[str, str]
    created_at: Time
    updated_at: Time
    finished_at: Time | None
    progress: Percent
    volumes: list[VolumeRestoreView]
    fail_code: FailCode
    safety_checkpoint_id: str | None
    undo_of: str | None
    stats: StatsView


class RestoreBody(TypedDict):
    """One restoration task."""

    restore: RestoreView


class RestoreList(TypedDict):
    """A page of restoration tasks."""

    restores: list[RestoreView]
    restores_links: NotRequired[list[Link]]


_STATUS = {
    VolumeOutcome.WAITING: "restoring",
    VolumeOutcome.RESTORING: "restoring",
    VolumeOutcome.RESTORED: "available",
    VolumeOutcome.PUT_BACK: "error",
    VolumeOutcome.UNTOUCHED: "error",
    VolumeOutcome.DAMAGED: "error",
}


def view(restore: Restore, default_target: str) -> RestoreView:
    """Return a restore as clients read it; *default_target* stands in for a `restore_target` that nobody kept."""
    request = restore.request
    return {
        "id": restore.id,
        "project_id": restore.project_id,
        "provider_id": PROVIDER_ID,
        "checkpoint_id": request.checkpoint_id,
        "restore_target": default_target if request.restore_target is None else request.restore_target,
        "status": restore.state.value,
        "parameters": _parameters(request),
        "resources_status": {_server_key(restore): _server_status(restore)}
        | {_volume_key(volume): _STATUS[volume.outcome] for volume in restore.volumes},
        "resources_reason": _reasons(restore),
        "created_at": time(restore.created_at),
        "updated_at": time(restore.updated_at),
        "finished_at": time_or_null(restore.finished_at),
        "progress": restore.progress,
        "volumes": [_volume(volume) for volume in restore.volumes],
        "fail_code": fail_code(restore.failure),
        "safety_checkpoint_id": restore.safety_checkpoint_id,
        "undo_of": restore.undo_of,
        "stats": _stats(restore.stats),
    }


def _parameters(request: RestoreRequest) -> ParametersView:
    view: ParametersView = {
        "checkpoint_item_id": request.backup_id,
        "power_on": request.power_on,
        "targets": {
            "server_id": request.server_id,
            "volumes": [{"backup_id": m.volume_backup_id, "volume_id": m.volume_id} for m in request.mappings],
        },
    }
    for name, value in request.extensions:
        view[name] = value  # type: ignore[literal-required]  # only the four above are ever put there
    return view


def _server_key(restore: Restore) -> str:
    return f"{SERVER_TYPE}#{restore.request.server_id}"


def _volume_key(volume: VolumeRestore) -> str:
    return f"{VOLUME_TYPE}#{volume.volume_id}"


def _server_status(restore: Restore) -> str:
    if restore.server_reason:
        return "error"
    return "restoring" if restore.state is RestoreState.IN_PROGRESS else "available"


def _reasons(restore: Restore) -> dict[str, str]:
    """Return why, for each target that failed, or of which something is lost, and for no other."""
    otherwise = restore.failure.message if restore.failure else "it was not restored"
    reasons = {_server_key(restore): restore.server_reason} if restore.server_reason else {}
    for volume in restore.volumes:
        if _STATUS[volume.outcome] == "error":
            reasons[_volume_key(volume)] = volume.reason or otherwise
        elif volume.outcome is VolumeOutcome.RESTORED and volume.lost:
            reasons[_volume_key(volume)] = volume.reason
    return reasons


def _volume(volume: VolumeRestore) -> VolumeRestoreView:
    return {
        "backup_id": volume.volume_backup_id,
        "volume_id": volume.volume_id,
        "outcome": volume.outcome.value,
        "ranges": [[offset, length] for offset, length in volume.ranges],
        "progress": volume.progress,
    }


def _stats(stats: RestoreStats) -> StatsView:
    return {
        "total": stats.total,
        "kept": stats.kept,
        "written": stats.written,
        "zeroed": stats.zeroed,
        "fetched": stats.fetched,
        "saved": stats.saved,
        "verified": stats.verified,
        "seconds_left": stats.seconds_left,
        "bytes_per_second": stats.bytes_per_second,
    }
