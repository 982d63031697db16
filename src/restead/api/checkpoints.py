"""Backup records: begin a backup, list, show and delete them."""

from typing import Annotated, NotRequired

from fastapi import APIRouter, Depends
from starlette.datastructures import QueryParams
from typing_extensions import TypedDict

from restead.api.answers import Empty, Json, Link, Time, one_of, status, time
from restead.api.auth import Call, Provider, check_provider, may
from restead.api.openapi import choice, documented, moment_parameter, paging, parameter
from restead.api.paging import listing, moment, text, texts, window, word
from restead.api.requests import ProtectRequest, backup_request
from restead.domain.backup import SERVER_TYPE, Checkpoint, ProtectedServer
from restead.domain.caller import Action
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import BackupId, CheckpointId
from restead.domain.listing import CheckpointFilter

STATUSES = (
    "protecting", "available", "restoring", "deleting", "error",
    "waiting_protect", "waiting_restore", "waiting_delete", "deleted",  # published words that match nothing
)  # fmt: skip
SORT_KEYS = ("created_at", "id", "status")

router = APIRouter(prefix="/v1/{project_id}/providers/{provider_id}", tags=["Backup records"])


class ResourceView(TypedDict):
    """A server as a plan names it."""

    id: str
    type: str
    name: str
    extra_info: dict[str, list[str]]


class ProtectionPlanView(TypedDict):
    """What was to be backed up."""

    id: str
    name: str
    resources: list[ResourceView]


class CheckpointView(TypedDict):
    """One run of a backup."""

    id: str
    project_id: str
    status: Annotated[str, one_of("protecting", "available", "error", "deleting")]
    created_at: Time
    updated_at: Time | None
    protection_plan: ProtectionPlanView
    extra_info: str | None


class CheckpointBody(TypedDict):
    """One backup record."""

    checkpoint: CheckpointView


class CheckpointList(TypedDict):
    """A page of backup records."""

    checkpoints: list[CheckpointView]
    checkpoints_links: NotRequired[list[Link]]


@router.post(
    "/resources/{resource_id}/action",
    **documented(
        "protectServer",
        "Back up one server now",
        asks=ProtectRequest,
        answers=CheckpointBody,
        codes=[
            Code.SERVER_NOT_FOUND, Code.SERVER_BEING_DESTROYED, Code.TYPE_NOT_PROTECTABLE,
            Code.SERVER_STATE_FORBIDS_BACKUP, Code.SERVER_KIND_NOT_PROTECTABLE, Code.NO_DISK_TO_BACK_UP,
            Code.SHARED_DISK, Code.QUOTA_EXCEEDED,
        ],
    ),
)  # fmt: skip
def protect(
    call: Annotated[Call, Depends(may(Action.BACKUPS_CREATE, body=True))], provider_id: Provider, resource_id: str
) -> Json:
    """All disks of the server show the same moment.  The record's item can be read as soon as this returns."""
    check_provider(provider_id)
    request = backup_request(resource_id, call.body)
    checkpoint = call.service.checkpoints.protect(call.caller, call.project_id, request)
    return Json({"checkpoint": view(checkpoint)})


@router.get(
    "/checkpoints",
    **documented(
        "listCheckpoints",
        "List backup records",
        answers=CheckpointList,
        parameters=[
            choice("status", "Equal.", STATUSES),
            parameter("plan_id", "Equal."),
            moment_parameter("start_date", "Made not before: a date or a time."),
            moment_parameter("end_date", "Made not after: a date, with the whole of that day, or a time."),
            *paging(SORT_KEYS),
        ],
    ),
)
def list_checkpoints(call: Annotated[Call, Depends(may(Action.BACKUPS_LIST))], provider_id: Provider) -> Json:
    check_provider(provider_id)
    page = call.service.checkpoints.list(
        call.caller, call.project_id, _filter(call.query), window(call.query, SORT_KEYS)
    )
    return Json(listing(call, "checkpoints", page, view))


@router.get(
    "/checkpoints/{checkpoint_id}",
    **documented("showCheckpoint", "Show a backup record", answers=CheckpointBody, codes=[Code.BACKUP_NOT_FOUND]),
)
def show_checkpoint(
    call: Annotated[Call, Depends(may(Action.BACKUPS_GET))], provider_id: Provider, checkpoint_id: str
) -> Json:
    check_provider(provider_id)
    checkpoint = call.service.checkpoints.checkpoint(call.caller, call.project_id, CheckpointId(checkpoint_id))
    return Json({"checkpoint": view(checkpoint)})


@router.delete(
    "/checkpoints/{checkpoint_id}",
    **documented(
        "deleteCheckpoint",
        "Delete a backup record, or some of its backups",
        answers=Empty,
        codes=[Code.BACKUP_NOT_FOUND, Code.IN_PROGRESS],
        parameters=[
            parameter(
                "checkpoint_items",
                "The backups to delete, separated by commas or repeated; all of the record's if absent.",
                {"type": "string", "pattern": r"^[^\x00, ]+$"},
                repeated=True,
            )
        ],
    ),
)
def delete_checkpoint(
    call: Annotated[Call, Depends(may(Action.BACKUPS_DELETE))], provider_id: Provider, checkpoint_id: str
) -> Json:
    """The backups are `deleting` at once and later answer 404.  No other backup of the same disks is harmed."""
    check_provider(provider_id)
    chosen = _chosen(call.query)
    call.service.checkpoints.delete(call.caller, call.project_id, CheckpointId(checkpoint_id), chosen)
    return Json({})


def _filter(query: QueryParams) -> CheckpointFilter:
    return CheckpointFilter(
        status=word(query, "status", STATUSES),
        plan_id=text(query, "plan_id"),
        start=moment(query, "start_date", day_ends=False),
        end=moment(query, "end_date", day_ends=True),
    )


def _chosen(query: QueryParams) -> list[BackupId] | None:
    """Return the backups that are named, None if the parameter was not sent."""
    sent = texts(query, "checkpoint_items")
    if not sent:
        return None
    ids = [id.strip(" ") for one in sent for id in one.split(",")]
    if not all(ids):
        # An empty name must never come to mean "all of them".
        raise InvalidRequest("checkpoint_items: an empty id was given; leave the parameter out to delete all")
    return [BackupId(id) for id in dict.fromkeys(ids)]


def view(checkpoint: Checkpoint) -> CheckpointView:
    """Return a checkpoint as clients read it."""
    return {
        "id": checkpoint.id,
        "project_id": checkpoint.project_id,
        "status": status(checkpoint.state),
        "created_at": time(checkpoint.created_at),
        "updated_at": time(checkpoint.updated_at),
        "protection_plan": {
            "id": checkpoint.plan_id,
            "name": checkpoint.plan_name,
            "resources": [resource_view(server) for server in checkpoint.servers],
        },
        "extra_info": checkpoint.extra_info,
    }


def resource_view(server: ProtectedServer) -> ResourceView:
    """Return a server as plans and policies name it."""
    excluded: dict[str, list[str]] = {"exclude_volumes": list(server.excluded)} if server.excluded else {}
    return {"id": server.id, "type": SERVER_TYPE, "name": server.name, "extra_info": excluded}
