"""Restoration tasks: create one, list them, follow one."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.datastructures import QueryParams

from restead.api.answers import Json
from restead.api.auth import Call, may
from restead.api.openapi import choice, documented, paging, parameter
from restead.api.paging import listing, text, window, word
from restead.api.requests import RestoreCreate, restore_request
from restead.api.restore_view import RestoreBody, RestoreList, view
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.ids import BackupId, CheckpointId, RestoreId, ServerId
from restead.domain.listing import RestoreFilter
from restead.domain.states import RestoreState

STATUSES = tuple(state.value for state in RestoreState)
SORT_KEYS = ("created_at", "updated_at", "status", "id")

CREATE_CODES = (
    Code.BACKUP_NOT_FOUND, Code.NOT_RESTORABLE, Code.TYPE_NOT_RESTORABLE, Code.SERVER_NOT_FOUND,
    Code.SERVER_KIND_NOT_RESTORABLE, Code.DIFFERENT_KINDS, Code.SERVER_STATE_FORBIDS_RESTORE,
    Code.SERVER_WITHOUT_DISK, Code.VOLUME_BACKUP_NOT_IN_BACKUP, Code.VOLUME_BACKUP_NOT_MAPPED,
    Code.VOLUME_NOT_ATTACHED, Code.TARGET_SHAREABLE, Code.DATA_TO_SYSTEM_DISK, Code.TARGET_TOO_SMALL,
    Code.ZONES_DO_NOT_MATCH,
)  # fmt: skip

router = APIRouter(prefix="/v1/{project_id}/restores", tags=["Restores"])


@router.post(
    "",
    **documented(
        "createRestore",
        "Create a restoration task",
        asks=RestoreCreate,
        answers=RestoreBody,
        codes=CREATE_CODES,
    ),
)
def create_restore(call: Annotated[Call, Depends(may(Action.RESTORES_CREATE, body=True))]) -> Json:
    """The server is stopped, its disks get the backup's bytes, and it is started if asked.

    The first condition that does not hold gives the answer, and then nothing is changed.
    """
    request = restore_request(call.body, call.target_address)
    restore = call.service.restores.create(call.caller, call.project_id, request)
    return Json({"restore": view(restore, call.target_address)})


@router.get(
    "",
    **documented(
        "listRestores",
        "List restoration tasks",
        answers=RestoreList,
        parameters=[
            choice("status", "Equal.", STATUSES),
            parameter("checkpoint_id", "Equal."),
            parameter("checkpoint_item_id", "Equal."),
            parameter("server_id", "Equal."),
            *paging(SORT_KEYS),
        ],
    ),
)
def list_restores(call: Annotated[Call, Depends(may(Action.RESTORES_LIST))]) -> Json:
    page = call.service.restores.list(call.caller, call.project_id, _filter(call.query), window(call.query, SORT_KEYS))
    return Json(listing(call, "restores", page, partial(view, default_target=call.target_address)))


@router.get(
    "/{restore_id}",
    **documented("showRestore", "Show a restoration task", answers=RestoreBody, codes=[Code.TASK_NOT_FOUND]),
)
def show_restore(call: Annotated[Call, Depends(may(Action.RESTORES_GET))], restore_id: str) -> Json:
    """Ask until `status` is `success` or `fail`."""
    restore = call.service.restores.restore(call.caller, call.project_id, RestoreId(restore_id))
    return Json({"restore": view(restore, call.target_address)})


def _filter(query: QueryParams) -> RestoreFilter:
    checkpoint, backup, server = (text(query, n) for n in ("checkpoint_id", "checkpoint_item_id", "server_id"))
    return RestoreFilter(
        status=word(query, "status", STATUSES),
        checkpoint_id=None if checkpoint is None else CheckpointId(checkpoint),
        backup_id=None if backup is None else BackupId(backup),
        server_id=None if server is None else ServerId(server),
    )
