"""What watches the service: whether its process answers, whether it can work, and its metrics."""

import ipaddress

import structlog
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from restead.api.answers import Json
from restead.api.auth import Door, caller_of
from restead.api.metrics import exposition
from restead.api.openapi import documented
from restead.domain.errors import Code, Damaged, Forbidden, Unauthenticated, Unavailable

router = APIRouter(tags=["Watching"])

log = structlog.get_logger("restead.api")

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # a proxy's headers: the caller is elsewhere


class HealthBody(TypedDict):
    """That all is well: what is not is an error."""

    status: str


@router.get("/healthz", **documented("showHealth", "Tell that the process answers", answers=HealthBody, public=True))
async def healthz() -> Json:
    """Looks at nothing else, so that whoever restarts a dead process does not restart one that waits for others."""
    return _well()


@router.get(
    "/readyz",
    **documented(
        "showReadiness", "Tell whether the service can work", answers=HealthBody, public=True,
        codes=(Code.UNAVAILABLE,),
    ),
)  # fmt: skip
def readyz(request: Request) -> Json:
    """The records answer, and runs are begun; the reason stands in the error."""
    door: Door = request.app.state.door
    if request.app.state.ending:
        raise Unavailable("the service is about to end")
    if not door.watching.engine_works():
        raise Unavailable("no runs are begun: the engine does not work")
    try:
        door.service.figures.check_records()
    except Damaged as error:  # the service cannot work, whatever the cause
        raise Unavailable(error.message, detail=error.detail) from error
    return _well()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    door: Door = request.app.state.door
    await _check_reader(request, door)
    content = await run_in_threadpool(_metrics, door)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


def _metrics(door: Door) -> bytes:
    watching = door.watching
    try:
        figures = door.service.figures.now(watching.servers)
    except (Unavailable, Damaged) as error:
        log.warning("metrics lack what the records say", reason=error.message, detail=error.detail)
        figures = None  # told as restead_records_up 0: whoever watches has to learn it, and the rest
    return exposition(watching.meter, figures, engine_works=watching.engine_works())


async def _check_reader(request: Request, door: Door) -> None:
    """Return if whoever asks may read the metrics.  Raises Unauthenticated, Forbidden; 404 if nobody may."""
    readers = door.watching.readers
    if readers == "off":
        raise HTTPException(404)
    if readers == "everyone" or (readers == "loopback" and _is_local(request)):
        return
    token = _token(request)
    if not token:
        raise Unauthenticated("the metrics are for a token whose role reaches every project")
    caller = await caller_of(request, token)
    if not caller.is_admin:
        raise Forbidden("no role of this token reaches every project, which the metrics tell of")


def _is_local(request: Request) -> bool:
    """Whether the caller is on this machine, and not only a proxy that speaks for somebody else."""
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _token(request: Request) -> str:
    """Return the token, also where programs that read metrics can put it."""
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    return request.headers.get("x-auth-token", "") or (bearer.strip() if kind.lower() == "bearer" else "")


def _well() -> Json:
    body: HealthBody = {"status": "ok"}
    return Json(body)
