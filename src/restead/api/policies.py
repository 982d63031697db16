"""Policies: make, list, show, change, delete, run now."""

from typing import Annotated

from fastapi import APIRouter, Depends

from restead.api import checkpoints
from restead.api.answers import Empty, Json
from restead.api.auth import Call, Provider, check_provider, may
from restead.api.openapi import documented, paging, parameter
from restead.api.paging import listing, text, window
from restead.api.policy_requests import (
    PolicyCreate,
    PolicyRunCreate,
    PolicyUpdate,
    new_policy,
    policy_change,
    policy_run,
)
from restead.api.policy_view import PolicyBody, PolicyList, RetentionBody, retention_view, view
from restead.domain.caller import Action
from restead.domain.errors import Code

SORT_KEYS = ("created_at", "name", "id")
_WRITE_CODES = (
    Code.POLICY_NAME_IN_USE, Code.SERVER_NOT_FOUND, Code.SERVER_BOUND_ELSEWHERE, Code.TYPE_NOT_PROTECTABLE,
)  # fmt: skip

router = APIRouter(prefix="/v1/{project_id}", tags=["Policies"])


@router.post(
    "/policies",
    **documented(
        "createPolicy", "Make a policy", asks=PolicyCreate, answers=PolicyBody,
        codes=[Code.TOO_MANY_POLICIES, *_WRITE_CODES],
    ),
)  # fmt: skip
def create_policy(call: Annotated[Call, Depends(may(Action.POLICIES_CREATE, body=True))]) -> Json:
    """Its schedule runs from now on, unless `enabled` is false."""
    return Json({"policy": view(call.service.policies.create(call.caller, call.project_id, new_policy(call.body)))})


@router.get(
    "/policies",
    **documented(
        "listPolicies", "List policies", answers=PolicyList,
        parameters=[parameter("name", "Equal."), *paging(SORT_KEYS)],
    ),
)  # fmt: skip
def list_policies(call: Annotated[Call, Depends(may(Action.POLICIES_LIST))]) -> Json:
    name, page = text(call.query, "name"), window(call.query, SORT_KEYS)
    return Json(listing(call, "policies", call.service.policies.list(call.caller, call.project_id, name, page), view))


@router.get(
    "/policies/{policy_id}",
    **documented("showPolicy", "Show a policy", answers=PolicyBody, codes=[Code.POLICY_NOT_FOUND]),
)
def show_policy(call: Annotated[Call, Depends(may(Action.POLICIES_GET))], policy_id: str) -> Json:
    return Json({"policy": view(call.service.policies.policy(call.caller, call.project_id, policy_id))})


@router.put(
    "/policies/{policy_id}",
    **documented(
        "updatePolicy", "Change a policy", asks=PolicyUpdate, answers=PolicyBody,
        codes=[Code.POLICY_NOT_FOUND, *_WRITE_CODES],
    ),
)  # fmt: skip
def update_policy(call: Annotated[Call, Depends(may(Action.POLICIES_UPDATE, body=True))], policy_id: str) -> Json:
    """What is absent stays as it is; a list replaces the whole list.  Backups under way are not affected."""
    wanted = policy_change(call.body)
    return Json({"policy": view(call.service.policies.update(call.caller, call.project_id, policy_id, wanted))})


@router.delete(
    "/policies/{policy_id}",
    **documented("deletePolicy", "Delete a policy", answers=Empty, codes=[Code.POLICY_NOT_FOUND]),
)
def delete_policy(call: Annotated[Call, Depends(may(Action.POLICIES_DELETE))], policy_id: str) -> Json:
    """Its backups stay, and nothing removes them any more."""
    call.service.policies.delete(call.caller, call.project_id, policy_id)
    return Json({})


@router.get(
    "/policies/{policy_id}/retention",
    **documented(
        "previewRetention", "Tell what the next run removes", answers=RetentionBody, codes=[Code.POLICY_NOT_FOUND]
    ),
)
def preview_retention(call: Annotated[Call, Depends(may(Action.POLICIES_GET))], policy_id: str) -> Json:
    """Of each backup of the policy whether it goes, and why; supposing that the next run succeeds.  Changes nothing."""
    preview = call.service.policies.preview(call.caller, call.project_id, policy_id)
    return Json({"retention": retention_view(preview)})


@router.post(
    "/providers/{provider_id}/checkpoints",
    **documented(
        "runPolicy", "Run a policy now", asks=PolicyRunCreate, answers=checkpoints.CheckpointBody,
        codes=[
            Code.POLICY_NOT_FOUND, Code.MANUAL_RUN_UNDER_WAY, Code.SCHEDULED_RUN_UNDER_WAY,
            Code.POLICY_WITHOUT_SERVER, Code.QUOTA_EXCEEDED,
        ],
    ),
)  # fmt: skip
def run_policy(call: Annotated[Call, Depends(may(Action.BACKUPS_CREATE, body=True))], provider_id: Provider) -> Json:
    """Whether or not its schedule is enabled; what it makes is never removed by retention."""
    check_provider(provider_id)
    checkpoint = call.service.policies.run(call.caller, call.project_id, policy_run(call.body))
    return Json({"checkpoint": checkpoints.view(checkpoint)})
