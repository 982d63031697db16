"""The plan of a restore as clients read it."""

from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from restead.api.answers import Time, Whole, one_of, time
from restead.domain.restore import PlanReport, VolumePlan


class KnownLostView(TypedDict):
    """What a verification has found lost of a disk backup; `ranges` are pairs of offset and length."""

    found_at: Time
    bytes: Whole
    ranges: list[list[Whole]]


class PlanVolumeView(TypedDict):
    """What would be done to one disk, in bytes; exact numbers only if disks were compared."""

    backup_id: str
    volume_id: str
    size: Whole
    target_size: Whole
    to_write_at_most: Whole
    kept: NotRequired[Whole]
    to_write: NotRequired[Whole]
    to_zero: NotRequired[Whole]
    to_save: NotRequired[Whole]
    damaged: NotRequired[list[list[Whole]]]
    known_lost: NotRequired[KnownLostView]


class PlanView(TypedDict):
    """What a restore would do."""

    server_id: str
    server_actions: list[Annotated[str, one_of("stop", "start")]]
    volumes: list[PlanVolumeView]


class PlanBody(TypedDict):
    """The plan of a restore."""

    plan: PlanView


def view(plan: PlanReport) -> PlanView:
    """Return a plan as clients read it."""
    return {
        "server_id": plan.server_id,
        "server_actions": list(plan.server_actions),
        "volumes": [_volume(volume) for volume in plan.volumes],
    }


def _volume(volume: VolumePlan) -> PlanVolumeView:
    found: PlanVolumeView = {
        "backup_id": volume.backup_id,
        "volume_id": volume.volume_id,
        "size": volume.size,
        "target_size": volume.target_size,
        "to_write_at_most": volume.to_write_at_most,
    }
    for name in ("kept", "to_write", "to_zero", "to_save"):
        exact = getattr(volume, name)
        if exact is not None:
            found[name] = exact
    if volume.damaged is not None:
        found["damaged"] = [[offset, length] for offset, length in volume.damaged]
    if (lost := volume.known_lost) is not None:
        ranges = [[offset, length] for offset, length in lost.ranges]
        found["known_lost"] = {"found_at": time(lost.found_at), "bytes": lost.size, "ranges": ranges}
    return found
