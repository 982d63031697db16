"""The operation log: list, show and remove its entries."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.datastructures import QueryParams

from restead.api.answers import Empty, Json
from restead.api.auth import Call, may
from restead.api.openapi import choice, documented, moment_parameter, paging, parameter
from restead.api.operation_view import KINDS, STATUSES, OperationBody, OperationList, view
from restead.api.paging import listing, moment, text, window, word
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.ids import ServerId
from restead.domain.operation import OperationFilter

SORT_KEYS = ("created_at", "updated_at", "status", "id")

router = APIRouter(prefix="/v1/{project_id}/operation_logs", tags=["Operation log"])


@router.get(
    "",
    **documented(
        "listOperations",
        "List what was done",
        answers=OperationList,
        parameters=[
            choice("status", "Equal; `timeout` matches nothing.", STATUSES),
            choice("operation_type", "Equal.", KINDS),
            parameter("checkpoint_id", "Equal."),
            parameter("plan_id", "Policy; equal."),
            parameter("restore_id", "Equal."),
            parameter("resource_id", "Server; equal."),
            moment_parameter("start_time", "Made not before."),
            moment_parameter("end_time", "Made not after."),
            *paging(SORT_KEYS),
        ],
    ),
)
def list_operations(call: Annotated[Call, Depends(may(Action.TASKS_LIST))]) -> Json:
    """Backups, restores and deletions, and what a schedule left undone."""
    wanted, page = _filter(call.query), window(call.query, SORT_KEYS)
    found = call.service.operations.list(call.caller, call.project_id, wanted, page)
    return Json(listing(call, "operation_logs", found, view))


@router.get(
    "/{operation_log_id}",
    **documented("showOperation", "Show an entry of the log", answers=OperationBody, codes=[Code.TASK_NOT_FOUND]),
)
def show_operation(call: Annotated[Call, Depends(may(Action.TASKS_GET))], operation_log_id: str) -> Json:
    return Json({"operation_log": view(call.service.operations.operation(call.caller, call.project_id,
                                                                         operation_log_id))})  # fmt: skip


@router.delete(
    "/{operation_log_id}",
    **documented(
        "deleteOperation", "Remove a finished entry of the log", answers=Empty,
        codes=[Code.TASK_NOT_FOUND, Code.IN_PROGRESS],
    ),
)  # fmt: skip
def delete_operation(call: Annotated[Call, Depends(may(Action.TASKS_DELETE))], operation_log_id: str) -> Json:
    """What it was about stays as it is."""
    call.service.operations.delete(call.caller, call.project_id, operation_log_id)
    return Json({})


def _filter(query: QueryParams) -> OperationFilter:
    server = text(query, "resource_id")
    return OperationFilter(
        state=word(query, "status", STATUSES),
        kind=word(query, "operation_type", KINDS),
        checkpoint_id=text(query, "checkpoint_id"),
        plan_id=text(query, "plan_id"),
        restore_id=text(query, "restore_id"),
        server_id=None if server is None else ServerId(server),
        start=moment(query, "start_time"),
        end=moment(query, "end_time"),
    )
