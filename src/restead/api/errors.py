"""The one place where an error becomes an HTTP answer: status, published code, and the body clients expect.

An error of ours keeps its code and its message; its detail goes to the log only.  What the HTTP edge finds
itself (no such path, a method that is not there, a body that is too large) gets its code here.  Anything
else is a bug: the traceback goes to the log, the caller gets the request id.
"""

from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restead.api.answers import ErrorBody, Json
from restead.api.trail import note_code
from restead.domain.errors import (
    Code,
    Damaged,
    Forbidden,
    InvalidRequest,
    NotFound,
    ResteadError,
    Unauthenticated,
    Unavailable,
)

STATUS: dict[type[ResteadError], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Damaged: 500,
    Unavailable: 503,
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # those a route can have; HEAD comes with GET

_LONGEST_MESSAGE = 1000  # characters; messages echo what was sent, and a body may be 1 MiB
_RETRY_AFTER = "5"  # seconds
_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": 'Token realm="restead"'},  # RFC 9110, 15.5.2: a 401 names a way to authenticate
    503: {"Retry-After": _RETRY_AFTER},
}

log = structlog.get_logger("restead.api")


def error_body(status: int, code: Code, message: str) -> ErrorBody:
    """Return the body of an error; `error` stands first because a client reads the first member."""
    return {
        "error": {"code": status, "title": HTTPStatus(status).phrase, "message": f"{code.value}: {message}"},
        "error_code": code.value,
        "error_msg": message,
    }


def printable(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return *text* cut to *longest* characters, with control characters and lone surrogates written out."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def add_handlers(app: FastAPI) -> None:
    """Let every error that a route raises be answered by this file."""
    app.add_exception_handler(ResteadError, _answer_ours)
    app.add_exception_handler(HTTPException, _answer_edge)
    app.add_exception_handler(RequestValidationError, _answer_edge)


def _answer(request: Request | None, status: int, code: Code, message: str, **headers: str) -> Response:
    if request is not None:
        note_code(request, code.value)
    body = error_body(status, code, printable(message))
    return Json(body, status_code=status, headers=_HEADERS.get(status, {}) | headers)


async def _answer_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ResteadError)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    structlog.contextvars.bind_contextvars(code=error.code.value)
    if error.code is not Code.WRONG_PARAMETER:  # that one quotes the body, and no body stands in a log
        structlog.contextvars.bind_contextvars(reason=printable(error.message))
    if error.detail:
        structlog.contextvars.bind_contextvars(detail=error.detail)
    return _answer(request, status, error.code, error.message)


async def _answer_edge(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    path = request.scope["path"][:200]
    if status == 404:
        return _answer(request, 404, Code.NO_SUCH_PATH, f"there is nothing at {path}")
    if status == 405:
        allowed = ", ".join(_allowed(request))
        message = f"{request.method} is not known at {path}, only {allowed}"
        return _answer(request, 405, Code.METHOD_NOT_ALLOWED, message, Allow=allowed)
    if status == 413:
        assert isinstance(error, HTTPException)
        return _answer(request, 413, Code.BODY_TOO_LARGE, error.detail)
    if status == 500:  # a published function that is not supported
        assert isinstance(error, HTTPException)
        return _answer(request, 500, Code.UNAVAILABLE, error.detail)
    return _answer(request, 400, Code.WRONG_PARAMETER, "the request is not valid")


def _allowed(request: Request) -> list[str]:
    """Return the methods of all routes that stand at this path: the router itself names those of the first only.

    A path of fixed words is not what stands there by a variable: `/restores/plan` is no restore.
    """
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    every = [(route.path or "", route.methods or ()) for route in iter_route_contexts(request.app.router.routes)]
    standing = [(route.count("{"), methods) for route, methods in every if compile_path(route)[0].match(path)]
    fewest = min((variables for variables, _ in standing), default=0)
    allowed = {method for variables, methods in standing if variables == fewest for method in methods}
    found = [method for method in METHODS if method in allowed]
    return [*found, "HEAD"] if "GET" in found else found


class LastResort:
    """ASGI middleware, the outermost handler: what no other handler took is a bug and answers 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if started or scope["type"] != "http":
                raise  # half an answer is out: only a broken connection tells the caller so
            log.exception("request ended by a bug")
            request_id = structlog.contextvars.get_contextvars().get("request", "")
            answer = _answer(None, 500, Code.INTERNAL, f"internal error; the log tells more under {request_id}")
            await answer(scope, receive, send)
