"""How the service is: an extension, so that a client can show what its operator should know."""

from typing import Annotated

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead import __version__
from restead.api.answers import Json
from restead.api.auth import Call, may
from restead.api.openapi import documented
from restead.domain.caller import Action

router = APIRouter(prefix="/v1/{project_id}/status", tags=["Status"])


class StatusView(TypedDict):
    """The running version, and sentences that somebody should read."""

    version: str
    warnings: list[str]


class StatusBody(TypedDict):
    """How the service is."""

    status: StatusView


@router.get("", **documented("showStatus", "Show how the service is", answers=StatusBody))
def show_status(call: Annotated[Call, Depends(may(Action.SERVERS_LIST))]) -> Json:
    view: StatusView = {"version": __version__, "warnings": list(call.door.warnings())}
    return Json({"status": view})
