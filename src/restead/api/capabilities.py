"""Capability checks: what could be done, found out without doing it."""

from typing import Annotated, NotRequired

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead.api.answers import Json
from restead.api.auth import Call, Provider, check_provider, may
from restead.api.body import parse
from restead.api.openapi import documented
from restead.api.requests import CapabilityRequest, restore_target
from restead.domain.caller import Action
from restead.domain.capability import Finding
from restead.domain.errors import InvalidRequest
from restead.domain.ids import ServerId

router = APIRouter(prefix="/v1/{project_id}/providers/{provider_id}/resources", tags=["Capability checks"])


class FindingView(TypedDict):
    """Whether the real call would be accepted, and if not the error it would get."""

    resource_id: str
    resource_type: str
    result: bool
    error_code: str
    error_msg: str


class CapabilityBody(TypedDict):
    """One entry for each entry that was asked about, in its order."""

    protectable: NotRequired[list[FindingView]]
    restorable: NotRequired[list[FindingView]]


@router.post(
    "/action",
    **documented(
        "checkCapability",
        "Tell whether servers can be backed up, or whether backups can be restored",
        asks=CapabilityRequest,
        answers=CapabilityBody,
    ),
)
def check(call: Annotated[Call, Depends(may(Action.BACKUPS_GET, body=True))], provider_id: Provider) -> Json:
    """Changes nothing.  A refusal is an entry with `result: false`, not an HTTP error."""
    check_provider(provider_id)
    request = parse(CapabilityRequest, call.body)
    if (request.check_protectable is None) == (request.check_restorable is None):
        raise InvalidRequest("exactly one of check_protectable and check_restorable is asked for")
    if request.check_protectable is not None:
        servers = [(ServerId(entry.resource_id), entry.resource_type) for entry in request.check_protectable]
        found = call.service.capabilities.protectable(call.caller, call.project_id, servers)
        return Json({"protectable": [view(finding) for finding in found]})
    restores = [restore_target(entry) for entry in request.check_restorable or ()]
    found = call.service.capabilities.restorable(call.caller, call.project_id, restores)
    return Json({"restorable": [view(finding) for finding in found]})


def view(finding: Finding) -> FindingView:
    """Return a finding as clients read it."""
    return {
        "resource_id": finding.resource_id,
        "resource_type": finding.resource_type,
        "result": finding.code is None,
        "error_code": finding.code.value if finding.code else "",
        "error_msg": finding.message,
    }
