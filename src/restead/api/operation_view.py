"""An entry of the operation log as clients read it."""

from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from restead.api.answers import Link, Percent, Time, one_of, time, time_or_null
from restead.api.auth import PROVIDER_ID
from restead.domain.backup import SERVER_TYPE
from restead.domain.operation import Operation
from restead.domain.run import RunKind
from restead.domain.states import OperationState

STATUSES = tuple(state.value for state in OperationState)
KINDS = tuple(kind.value for kind in RunKind)


class OperationError(TypedDict):
    """Why it failed or never began; both empty if it did not."""

    code: str
    message: str


class OperationCommon(TypedDict):
    """What every entry has."""

    progress: Percent
    request_id: str
    task_id: str


class OperationResource(TypedDict):
    """The server that it is about."""

    id: str
    type: str
    name: str


class OperationBackup(TypedDict):
    """The backup that is made."""

    backup_id: str
    backup_name: str
    incremental: bool


class OperationRestore(TypedDict):
    """The backup that is restored, and where to."""

    backup_id: str
    backup_name: str
    target_resource_id: str
    target_resource_name: str


class OperationDelete(TypedDict):
    """The backup that is deleted."""

    backup_id: str
    backup_name: str


class OperationExtraInfo(TypedDict):
    """Details; one of the last three, by the type of the operation."""

    common: OperationCommon
    resource: OperationResource
    backup: NotRequired[OperationBackup]
    restore: NotRequired[OperationRestore]
    delete: NotRequired[OperationDelete]


class OperationView(TypedDict):
    """One backup, restore or deletion, done or left undone."""

    id: str
    project_id: str
    provider_id: str
    operation_type: Annotated[str, one_of(*KINDS)]
    status: Annotated[str, one_of(*STATUSES)]
    checkpoint_id: str | None
    plan_id: str | None
    restore_id: str | None
    scheduled_operation_id: str | None
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    updated_at: Time
    error_info: OperationError
    extra_info: OperationExtraInfo


class OperationBody(TypedDict):
    """One entry of the log."""

    operation_log: OperationView


class OperationList(TypedDict):
    """A page of the log."""

    operation_logs: list[OperationView]
    operation_logs_links: NotRequired[list[Link]]


def view(operation: Operation) -> OperationView:
    """Return an entry as clients read it."""
    failure = operation.failure
    return {
        "id": operation.id,
        "project_id": operation.project_id,
        "provider_id": PROVIDER_ID,
        "operation_type": operation.kind.value,
        "status": operation.state.value,
        "checkpoint_id": operation.checkpoint_id,
        "plan_id": operation.plan_id,
        "restore_id": operation.restore_id,
        "scheduled_operation_id": operation.scheduled_operation_id,
        "created_at": time(operation.created_at),
        "started_at": time_or_null(operation.started_at),
        "ended_at": time_or_null(operation.ended_at),
        "updated_at": time(operation.updated_at),
        "error_info": {"code": failure.code.value if failure else "", "message": failure.message if failure else ""},
        "extra_info": _extra_info(operation),
    }


def _extra_info(operation: Operation) -> OperationExtraInfo:
    found: OperationExtraInfo = {
        "common": {"progress": operation.progress, "request_id": operation.request_id, "task_id": operation.id},
        "resource": {"id": operation.server_id, "type": SERVER_TYPE, "name": operation.server_name},
    }
    if operation.kind is RunKind.BACKUP:
        found["backup"] = {"backup_id": operation.backup_id, "backup_name": operation.backup_name,
                           "incremental": operation.incremental}  # fmt: skip
    elif operation.kind is RunKind.RESTORE:
        found["restore"] = {
            "backup_id": operation.backup_id, "backup_name": operation.backup_name,
            "target_resource_id": operation.server_id, "target_resource_name": operation.server_name,
        }  # fmt: skip
    else:
        found["delete"] = {"backup_id": operation.backup_id, "backup_name": operation.backup_name}
    return found
