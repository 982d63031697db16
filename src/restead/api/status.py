"""How the service is: an extension, so that a client can show what its operator should know."""

from typing import Annotated

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead import __version__
from restead.api.answers import Json, Whole
from restead.api.auth import Call, may
from restead.api.openapi import documented
from restead.domain.caller import Action

router = APIRouter(prefix="/v1/{project_id}/status", tags=["Status"])


class StatusView(TypedDict):
    """The running version, sentences that somebody should read, and the bytes that the project's backups store."""

    version: str
    warnings: list[str]
    stored: Whole


class StatusBody(TypedDict):
    """How the service is."""

    status: StatusView


@router.get("", **documented("showStatus", "Show how the service is", answers=StatusBody))
def show_status(call: Annotated[Call, Depends(may(Action.SERVERS_LIST))]) -> Json:
    stored = call.service.quotas.stored(call.caller, call.project_id)
    view: StatusView = {"version": __version__, "warnings": list(call.door.warnings()), "stored": stored}
    return Json({"status": view})
