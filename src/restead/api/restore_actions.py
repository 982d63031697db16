"""What else can be asked about restores: what one would do, and to stop, undo or slow down one that was begun."""

from typing import Annotated

from fastapi import APIRouter, Depends

from restead.api.answers import Empty, Json
from restead.api.auth import Call, may
from restead.api.body import parse
from restead.api.openapi import documented
from restead.api.plan_view import PlanBody
from restead.api.plan_view import view as plan_view
from restead.api.requests import (
    RestoreAction,
    RestorePlanRequest,
    RestoresAction,
    ThrottleShape,
    plan_request,
    restore_action,
    restore_action_asked,
)
from restead.api.restore_view import RestoreBody, view
from restead.api.restores import CREATE_CODES
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.ids import RestoreId

router = APIRouter(prefix="/v1/{project_id}/restores", tags=["Restores"])

_ACTING = may(Action.RESTORES_CANCEL, body=True, by_body=restore_action_asked)


@router.post(
    "/plan",
    **documented("planRestore", "Tell what a restore would do", asks=RestorePlanRequest, answers=PlanBody,
                 codes=CREATE_CODES),
)  # fmt: skip
def plan_restore(call: Annotated[Call, Depends(may(Action.RESTORES_GET, body=True))]) -> Json:
    """Checks what a restore checks and changes nothing; with `compare` the disks are read for exact numbers."""
    request, compare = plan_request(call.body, call.target_address)
    return Json({"plan": plan_view(call.service.restores.plan(call.caller, call.project_id, request, compare))})


@router.post(
    "/action",
    **documented("actOnRestores", "Set how fast all restores together may be", asks=RestoresAction, answers=Empty),
)
def act_on_restores(call: Annotated[Call, Depends(may(Action.RESTORES_THROTTLE, body=True))]) -> Json:
    """Holds for restores that are under way, too, and for those to come; administrators only."""
    throttle = parse(RestoresAction, call.body).throttle
    call.service.restores.throttle(call.caller, call.project_id, None, _limit(throttle))
    return Json({})


@router.post(
    "/{restore_id}/action",
    **documented(
        "actOnRestore",
        "Cancel, undo or slow down a restoration task",
        asks=RestoreAction,
        answers=RestoreBody,
        codes=[*CREATE_CODES, Code.TASK_NOT_FOUND, Code.IN_PROGRESS],
    ),
)
def act_on_restore(call: Annotated[Call, Depends(_ACTING)], restore_id: str) -> Json:
    """`cancel` puts every disk back; `undo` answers a new restore, of what the old one has overwritten."""
    action, restores, id = restore_action(call.body), call.service.restores, RestoreId(restore_id)
    if action.undo is not None:
        found = restores.undo(call.caller, call.project_id, id, action.undo.power_on)
    elif action.throttle is not None:
        throttled = restores.throttle(call.caller, call.project_id, id, _limit(action.throttle))
        assert throttled is not None, "it was not about all restores"
        found = throttled
    else:
        found = restores.cancel(call.caller, call.project_id, id)
    return Json({"restore": view(found, call.target_address)})


def _limit(throttle: ThrottleShape) -> int | None:
    return throttle.bytes_per_second or None
