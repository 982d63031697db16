"""Who asks, and whether they may: before a byte of the body is looked at.

The order is fixed: token (401), project and role (403), size of the body (413), and only then what it says.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import Path, Security
from fastapi.security import APIKeyHeader
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request

from restead.api.body import read_body, refuse_large
from restead.api.guessing import Guesses
from restead.api.metrics import Watching
from restead.api.trail import note_asked
from restead.domain.caller import Action, Caller
from restead.domain.errors import Forbidden, InvalidRequest, Unauthenticated
from restead.domain.ids import ProjectId
from restead.ports import Identity
from restead.service import Service

REFUSED = "restead_refused"  # in a request's state: all that is still to come is a refusal that has to wait
PROVIDER_ID = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"  # CSBS, addresses: "Always …"

_FOREIGN = 24  # callers of whom another identity service is asked at once; they keep no thread from all other work

_PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The pattern is for the document only: text that no project can have is refused by us, after the token.
_PROJECT_ID = Path(description="Project of the token.", json_schema_extra={"pattern": f"^{_PROJECT.pattern}$"})
Provider = Annotated[str, Path(description="Always the same.", json_schema_extra={"const": PROVIDER_ID})]
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_TOKEN = APIKeyHeader(name="X-Auth-Token", scheme_name="token", auto_error=False, description="A token of the project.")


@dataclass(frozen=True, slots=True)
class Door:
    """What all routes are given once: the service, and where it is reached from outside."""

    service: Service
    identity: Identity
    base_url: str | None  # https://host[:port][/prefix]; None: as each request addressed us
    identity_url: str | None
    warnings: Callable[[], Sequence[str]]
    guesses: Guesses | None = None
    watching: Watching = field(default_factory=Watching)
    # Whether a token is for somebody else to judge, who may be slow.
    is_foreign: Callable[[str], bool] = lambda _: False
    foreign_places: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_FOREIGN))


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller is known and may do this."""

    request: Request
    door: Door
    caller: Caller
    project_id: ProjectId
    body: bytes = b""

    @property
    def service(self) -> Service:
        return self.door.service

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def address(self) -> str:
        """This request's address without its query, absolute."""
        path: str = self.request.scope["path"]
        return base_address(self.request) + path.removeprefix(self.request.scope.get("root_path", ""))

    @property
    def target_address(self) -> str:
        """What `restore_target` says if it was not sent: the identity service, else our own address."""
        return self.door.identity_url or f"{base_address(self.request)}/v1/"


def base_address(request: Request) -> str:
    """Return the address under which the caller reaches us, without a slash at the end."""
    door: Door = request.app.state.door
    if door.base_url:
        return door.base_url.rstrip("/")
    scope = request.scope
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scope['scheme']}://{host}{scope.get('root_path', '')}"


def check_provider(provider_id: str) -> None:
    """Return if it is the one provider there is.  Raises InvalidRequest."""
    if provider_id != PROVIDER_ID:
        raise InvalidRequest(f"provider_id: {provider_id[:64]!r} is unknown, the only provider is {PROVIDER_ID}")


def may(
    action: Action, *, body: bool = False, by_body: Callable[[bytes], Action] | None = None
) -> Callable[..., Awaitable[Call]]:
    """Return a dependency that lets a route be entered only by a caller who may do *action* in the path's project.

    With *body* the request's body is read whole into `Call.body`.  *by_body*: says which action it is instead, where
    one path stands for several; of a body that cannot be read it is *action*.
    """

    async def call(
        request: Request,
        project_id: Annotated[str, _PROJECT_ID],
        token: Annotated[str | None, Security(_TOKEN)],
    ) -> Call:
        door: Door = request.app.state.door
        if not token:
            raise Unauthenticated("the header X-Auth-Token is missing")
        caller = await caller_of(request, token)
        read = await _read(request) if by_body else None
        asked = by_body(read) if by_body and isinstance(read, bytes) else action
        await note_asked(request, door.service, caller, asked, project_id[:64])
        if not _PROJECT.fullmatch(project_id):
            raise Forbidden(f"there can be no project {project_id[:64]!r}")
        structlog.contextvars.bind_contextvars(project=project_id)
        caller.require(asked, ProjectId(project_id))
        if isinstance(read, Exception):
            raise read
        refuse_large(request)
        if "\0" in request.scope["path"]:
            raise InvalidRequest("the path holds a NUL character, which no id does")
        content = read if read is not None else await read_body(request) if body else b""
        return Call(request, door, caller, ProjectId(project_id), content)

    return call


async def _read(request: Request) -> bytes | HTTPException | InvalidRequest:
    """Return the body, or what is wrong with it: that is told after the role."""
    try:
        refuse_large(request)
        return await read_body(request)
    except (HTTPException, InvalidRequest) as error:
        return error


async def caller_of(request: Request, token: str) -> Caller:
    """Return whose token it is; who guesses waits.  Raises Unauthenticated, Unavailable."""
    door: Door = request.app.state.door
    try:
        places = door.foreign_places if door.is_foreign(token) else None  # None: those of all other work
        return await to_thread.run_sync(door.identity.caller, token, limiter=places)
    except Unauthenticated:
        if door.guesses is not None:
            setattr(request.state, REFUSED, True)
            await asyncio.sleep(door.guesses.delay(request.client.host if request.client else ""))
        raise
