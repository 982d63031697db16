"""Backups of single servers (`checkpoint_items`): list, show, count."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.datastructures import QueryParams

from restead.api.answers import Json
from restead.api.auth import Call, may
from restead.api.backup_view import BackupBody, BackupCount, BackupList, view
from restead.api.checkpoints import STATUSES
from restead.api.openapi import all_tenants, choice, documented, moment_parameter, paging, parameter
from restead.api.paging import flag, listing, moment, text, texts, window, word
from restead.api.requests import BackupAction, hold_until
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.ids import BackupId, CheckpointId, ServerId
from restead.domain.listing import BackupFilter

SORT_KEYS = ("created_at", "updated_at", "name", "status", "protected_at", "id")

_FILTERS = [
    choice("status", "Equal; words that are never sent match nothing.", STATUSES),
    parameter("name", "Part of the backup's name, any case."),
    parameter("resource_name", "Part of the server's name, any case."),
    parameter("resource_id", "Server; equal."),
    parameter("resource_type", "Equal; if repeated, any of them.", repeated=True),
    parameter("checkpoint_id", "Equal."),
    parameter("policy_id", "Backups made by that policy."),
    parameter("az", "Availability zone; equal."),
    parameter("ip", "Private or public address of the server; equal."),
    parameter("image_type", "Equal."),
    moment_parameter("start_time", "Created not before."),
    moment_parameter("end_time", "Created not after."),
]

router = APIRouter(prefix="/v1/{project_id}/checkpoint_items", tags=["Backups"])


@router.get(
    "",
    **documented("listBackups", "List backups", answers=BackupList, parameters=[*_FILTERS, *paging(SORT_KEYS)]),
)
def list_backups(call: Annotated[Call, Depends(may(Action.BACKUPS_LIST))]) -> Json:
    """Conditions are joined by AND."""
    page = call.service.backups.list(call.caller, call.project_id, _filter(call.query), window(call.query, SORT_KEYS))
    return Json(listing(call, "checkpoint_items", page, view))


@router.get(
    "/count",
    **documented("countBackups", "Count backups", answers=BackupCount, parameters=[*_FILTERS, all_tenants()]),
)
def count_backups(call: Annotated[Call, Depends(may(Action.BACKUPS_LIST))]) -> Json:
    everywhere = flag(call.query, "all_tenants")
    count = call.service.backups.count(call.caller, call.project_id, _filter(call.query), all_projects=everywhere)
    return Json({"count": count})


@router.get(
    "/{checkpoint_item_id}",
    **documented("showBackup", "Show a backup", answers=BackupBody, codes=[Code.BACKUP_NOT_FOUND]),
)
def show_backup(call: Annotated[Call, Depends(may(Action.BACKUPS_GET))], checkpoint_item_id: str) -> Json:
    """The id of a record with exactly one backup shows that backup."""
    backup = call.service.backups.backup(call.caller, call.project_id, BackupId(checkpoint_item_id))
    return Json({"checkpoint_item": view(backup)})


@router.post(
    "/{checkpoint_item_id}/action",
    **documented(
        "actOnBackup", "Hold a backup", asks=BackupAction, answers=BackupBody,
        codes=[Code.BACKUP_NOT_FOUND, Code.IN_PROGRESS],
    ),
)  # fmt: skip
def act_on_backup(call: Annotated[Call, Depends(may(Action.BACKUPS_HOLD, body=True))], checkpoint_item_id: str) -> Json:
    """Until then nobody can delete the backup, retention and administrators included; longer, never shorter."""
    until, id = hold_until(call.body), BackupId(checkpoint_item_id)
    return Json({"checkpoint_item": view(call.service.backups.hold(call.caller, call.project_id, id, until))})


def _filter(query: QueryParams) -> BackupFilter:
    checkpoint, resource = text(query, "checkpoint_id"), text(query, "resource_id")
    return BackupFilter(
        status=word(query, "status", STATUSES),
        name=text(query, "name"),
        resource_name=text(query, "resource_name"),
        resource_id=None if resource is None else ServerId(resource),
        resource_types=texts(query, "resource_type"),
        checkpoint_id=None if checkpoint is None else CheckpointId(checkpoint),
        policy_id=text(query, "policy_id"),
        zone=text(query, "az"),
        address=text(query, "ip"),
        image_type=text(query, "image_type"),
        start=moment(query, "start_time"),
        end=moment(query, "end_time"),
    )
