"""How the service is: an extension, so that a client can show what its operator should know."""

from typing import Annotated

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead import __version__
from restead.api.answers import Json, Time, Whole, one_of, time, time_or_null
from restead.api.auth import Call, may
from restead.api.openapi import documented
from restead.domain.caller import Action
from restead.domain.ids import ProjectId
from restead.domain.verification import Verification

router = APIRouter(prefix="/v1/{project_id}/status", tags=["Status"])


class DamagedView(TypedDict):
    """A disk backup of the project of which some is lost; ranges are pairs of offset and length in bytes."""

    backup_id: str
    disk_backup_id: str
    lost: Whole
    ranges: list[list[Whole]]


class VerificationView(TypedDict):
    """The last look at the repository that came to its end, and which of the project's backups it found damaged."""

    depth: Annotated[str, one_of("structure", "objects", "full")]
    state: Annotated[str, one_of("sound", "damaged")]
    started_at: Time
    finished_at: Time | None
    damaged: list[DamagedView]


class StatusView(TypedDict):
    """The running version, sentences that somebody should read, and the bytes that the project's backups store."""

    version: str
    warnings: list[str]
    stored: Whole
    verification: VerificationView | None


class StatusBody(TypedDict):
    """How the service is."""

    status: StatusView


@router.get("", **documented("showStatus", "Show how the service is", answers=StatusBody))
def show_status(call: Annotated[Call, Depends(may(Action.SERVERS_LIST))]) -> Json:
    stored = call.service.quotas.stored(call.caller, call.project_id)
    found = call.service.verifications.standing(call.caller, call.project_id)
    view: StatusView = {
        "version": __version__,
        "warnings": list(call.door.warnings()),
        "stored": stored,
        "verification": None if found is None else _verification(found, call.project_id),
    }
    return Json({"status": view})


def _verification(found: Verification, project_id: ProjectId) -> VerificationView:
    return {
        "depth": found.depth.value,
        "state": found.state.value,
        "started_at": time(found.started_at),
        "finished_at": time_or_null(found.finished_at),
        "damaged": [
            {
                "backup_id": disk.backup_id,
                "disk_backup_id": disk.disk_backup_id,
                "lost": disk.lost,
                "ranges": [[offset, length] for offset, length in disk.ranges],
            }
            for disk in found.disks
            if disk.project_id == project_id and disk.backup_id is not None
        ],
    }
