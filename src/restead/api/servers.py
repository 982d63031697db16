"""The project's servers as their cloud describes them: an extension, so that clients can name them."""

from typing import Annotated

from fastapi import APIRouter, Depends
from typing_extensions import TypedDict

from restead.api.answers import Json, Whole, one_of
from restead.api.auth import Call, may
from restead.api.backup_view import TagView
from restead.api.openapi import documented
from restead.domain.caller import Action
from restead.domain.errors import Code
from restead.domain.server import Server, ServerStatus, Volume

router = APIRouter(prefix="/v1/{project_id}/servers", tags=["Servers"])


class VolumeView(TypedDict):
    """A disk that is attached now; *size* in bytes; *location*: where it is, for people."""

    id: str
    name: str
    size: Whole
    bootable: bool
    shared: bool
    location: str


class ServerView(TypedDict):
    """A server as it is now; *tags*: its own, by which policies select it."""

    id: str
    name: str
    status: Annotated[str, one_of(*ServerStatus)]
    zone: str
    tags: list[TagView]
    volumes: list[VolumeView]
    can_start: bool
    can_stop: bool


class ServerBody(TypedDict):
    """One server."""

    server: ServerView


class ServerList(TypedDict):
    """All servers of the project."""

    servers: list[ServerView]


@router.get("", **documented("listServers", "List the project's servers", answers=ServerList))
def list_servers(call: Annotated[Call, Depends(may(Action.SERVERS_LIST))]) -> Json:
    found = call.service.servers.list(call.caller, call.project_id)
    return Json({"servers": [view(server) for server in found]})


@router.get(
    "/{id_or_name}",
    **documented("showServer", "Show a server", answers=ServerBody, codes=[Code.NO_SUCH_PATH]),
)
def show_server(call: Annotated[Call, Depends(may(Action.SERVERS_LIST))], id_or_name: str) -> Json:
    return Json({"server": view(call.service.servers.server(call.caller, call.project_id, id_or_name))})


def view(server: Server) -> ServerView:
    """Return a server as clients read it."""
    return {
        "id": server.id,
        "name": server.name,
        "status": server.status.value,
        "zone": server.zone,
        "tags": [{"key": key, "value": value} for key, value in server.tags],
        "volumes": [_volume(volume) for volume in server.volumes],
        "can_start": server.can_start,
        "can_stop": server.can_stop,
    }


def _volume(volume: Volume) -> VolumeView:
    return {
        "id": volume.id,
        "name": volume.name,
        "size": volume.size,
        "bootable": volume.bootable,
        "shared": volume.shared,
        "location": volume.location,
    }
