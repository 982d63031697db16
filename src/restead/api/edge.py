"""The outermost layer of every request: its id, its log line, a slash too many, and HEAD."""

import re
import time
import uuid

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = "restead.head"
_WHOLE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)  # an address as it is sent to a proxy
_TWO_ENDS = {b"content-length", b"transfer-encoding"}

log = structlog.get_logger("restead.api")


class Edge:
    """ASGI middleware: every answer gets `X-Openstack-Request-Id`, and every log line of the request that id.

    An address may be whole, with its scheme and host.  A trailing slash is taken off rather than redirected (a client
    that follows a redirect repeats a POST as a GET).  HEAD is answered as GET is, without the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, began, status = f"req-{uuid.uuid4()}", time.monotonic(), 0
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Openstack-Request-Id"] = request_id
                if {name for name, _ in scope["headers"]} >= _TWO_ENDS:
                    # RFC 9112, 6.1: a proxy may see its end elsewhere, and what follows is not to be believed.
                    headers["Connection"] = "close"
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(_tidied(scope), receive, answer)
        finally:
            took = round((time.monotonic() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=_path_for_log(scope), status=status, milliseconds=took)


def is_head(request: Request) -> bool:
    """Whether only the headers are sent, so that an endless answer need not begin."""
    return bool(request.scope.get(_HEAD))


def _tidied(scope: Scope) -> Scope:
    changes: dict[str, object] = {}
    path = scope["path"]
    if whole := _WHOLE.fullmatch(path):
        # RFC 9112, 3.2.2: to be understood, and its host is the one that counts.
        path = changes["path"] = whole[2] or "/"
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        changes["headers"] = [(b"host", whole[1].encode("latin-1", "replace")), *others]
    if len(path) > 1 and path.endswith("/"):
        changes["path"] = path[:-1]
    if scope["method"] == "HEAD":
        changes |= {"method": "GET", _HEAD: True}
    return {**scope, **changes} if changes else scope


def _path_for_log(scope: Scope) -> str:
    """Return the path as it was sent, still escaped, without the query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "backslashreplace")
    return raw.decode("latin-1")[:512]
