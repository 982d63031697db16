"""The operation log: one entry for each backup, restore and deletion, and for what a schedule left undone."""

from dataclasses import dataclass
from datetime import datetime

from restead.domain.backup import Failure
from restead.domain.ids import ProjectId, RunId, ServerId
from restead.domain.run import RunKind
from restead.domain.states import OperationState

NO_SERVER = ServerId("")
OPEN = (OperationState.WAITING, OperationState.RUNNING)


@dataclass(frozen=True, slots=True)
class Operation:
    """An entry of the log.  It stays when what it is about is gone, so it keeps names as they were."""

    id: RunId
    project_id: ProjectId
    kind: RunKind
    state: OperationState
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    checkpoint_id: str | None = None
    plan_id: str | None = None  # of the policy; None if there is none
    restore_id: str | None = None
    scheduled_operation_id: str | None = None  # if a schedule started it
    server_id: ServerId = NO_SERVER  # that is backed up, restored to, or whose backup is deleted
    server_name: str = ""
    backup_id: str = ""
    backup_name: str = ""
    incremental: bool = False
    failure: Failure | None = None
    progress: int = 0
    request_id: str = ""  # of the call that asked for it


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Conditions on entries of the log, joined by AND; None means any."""

    state: str | None = None
    kind: str | None = None
    checkpoint_id: str | None = None
    plan_id: str | None = None
    restore_id: str | None = None
    server_id: ServerId | None = None
    start: datetime | None = None  # created not before
    end: datetime | None = None  # created not after
