"""Quotas: how much a project may keep and keeps."""

from typing import Annotated, NotRequired

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead.api.answers import Json, Whole
from restead.api.auth import Call, may
from restead.api.openapi import documented
from restead.domain.caller import Action
from restead.domain.quota import Quota

router = APIRouter(prefix="/v1/{project_id}/quotas", tags=["Quotas"])


class QuotaView(TypedDict):
    """A limit (-1: none) and what is used of it."""

    type: str
    unit: NotRequired[str]
    quota: int
    used: Whole


class QuotaResources(TypedDict):
    """All quotas of a project."""

    resources: list[QuotaView]


class QuotaBody(TypedDict):
    """All quotas of a project."""

    quotas: QuotaResources


@router.get("", **documented("showQuotas", "Show the project's quotas", answers=QuotaBody))
def show_quotas(call: Annotated[Call, Depends(may(Action.QUOTAS_GET))]) -> Json:
    found = call.service.quotas.quotas(call.caller, call.project_id)
    return Json({"quotas": {"resources": [view(quota) for quota in found]}})


def view(quota: Quota) -> QuotaView:
    """Return a quota as clients read it."""
    if quota.unit is None:
        return {"type": quota.type, "quota": quota.quota, "used": quota.used}
    return {"type": quota.type, "unit": quota.unit, "quota": quota.quota, "used": quota.used}
