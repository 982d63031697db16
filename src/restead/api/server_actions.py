"""What can be asked about servers: how fast they may be read while they run.  An extension."""

from typing import Annotated

from fastapi import APIRouter, Depends

from restead.api.answers import Empty, Json
from restead.api.auth import Call, may
from restead.api.body import parse
from restead.api.openapi import documented
from restead.api.requests import ServersAction
from restead.domain.caller import Action
from restead.domain.errors import Code

router = APIRouter(prefix="/v1/{project_id}/servers", tags=["Servers"])


@router.post(
    "/action",
    **documented("actOnServers", "Set how fast all running servers together may be read", asks=ServersAction,
                 answers=Empty),
)  # fmt: skip
def act_on_servers(call: Annotated[Call, Depends(may(Action.SERVERS_THROTTLE, body=True))]) -> Json:
    """Holds for backups that are under way, too, and for those to come; administrators only."""
    throttle = parse(ServersAction, call.body).throttle
    call.service.servers.throttle(call.caller, call.project_id, None, throttle.bytes_per_second or None)
    return Json({})


@router.post(
    "/{id_or_name}/action",
    **documented("actOnServer", "Set how fast a server may be read while it runs", asks=ServersAction, answers=Empty,
                 codes=[Code.NO_SUCH_PATH]),
)  # fmt: skip
def act_on_server(call: Annotated[Call, Depends(may(Action.SERVERS_THROTTLE, body=True))], id_or_name: str) -> Json:
    """Holds for a backup of it that is under way, too, and for those to come."""
    throttle = parse(ServersAction, call.body).throttle
    call.service.servers.throttle(call.caller, call.project_id, id_or_name, throttle.bytes_per_second or None)
    return Json({})
