"""Who calls, and how, where a proxy in front of us speaks for them.

Each proxy puts the address that it was called from behind those that stand in `X-Forwarded-For` already, and whoever
calls it can send some himself.  So only the last one is the proxy's own word; any other would let a caller choose under
which address he stands in the audit trail, and another one for each token that he guesses.
"""

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

_SCHEMES = ("http", "https")


class BehindProxy:
    """ASGI middleware: the caller's address and scheme are those that the proxy in front tells."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, **_told(scope)}
        await self.app(scope, receive, send)


def _told(scope: Scope) -> Scope:
    told: Scope = {}
    address, scheme = _address(_last(scope, b"x-forwarded-for")), _last(scope, b"x-forwarded-proto")
    if address:
        told["client"] = (address, 0)
    if scheme in _SCHEMES:
        told["scheme"] = scheme
    return told


def _last(scope: Scope, name: bytes) -> str:
    """Return the last word of a header that may stand there several times, "" if it does not."""
    found = [value for header, value in scope["headers"] if header == name]
    return found[-1].decode("latin-1").rpartition(",")[2].strip() if found else ""


def _address(text: str) -> str:
    """Return the address in `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7` or `[2001:db8::7]:4711`, "" in all else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
