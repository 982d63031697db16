"""Reports: an extension of ours."""

from typing import Annotated

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead.api.answers import Json, Time, time_or_null
from restead.api.auth import Call, may
from restead.api.openapi import documented
from restead.domain.caller import Action
from restead.domain.unprotected import Unprotected

router = APIRouter(prefix="/v1/{project_id}/reports", tags=["Reports"])


class UnprotectedView(TypedDict):
    """A server that would be missed, and why."""

    resource_id: str
    resource_name: str
    policy_id: str | None
    policy_name: str
    last_good: Time | None
    reason: str


class UnprotectedList(TypedDict):
    """All such servers of the project."""

    unprotected: list[UnprotectedView]


@router.get(
    "/unprotected", **documented("reportUnprotected", "List servers that are not protected", answers=UnprotectedList)
)
def report_unprotected(call: Annotated[Call, Depends(may(Action.POLICIES_LIST))]) -> Json:
    """Without a good backup younger than their policy, or without a policy."""
    found = call.service.reports.unprotected(call.caller, call.project_id)
    return Json({"unprotected": [view(each) for each in found]})


def view(found: Unprotected) -> UnprotectedView:
    """Return a server that is not protected as clients read it."""
    return {
        "resource_id": found.server.id,
        "resource_name": found.server.name,
        "policy_id": None if found.policy is None else found.policy.id,
        "policy_name": "" if found.policy is None else found.policy.name,
        "last_good": time_or_null(found.last_good),
        "reason": found.reason,
    }
