"""How many connections are served at once, and how long a client may keep one waiting.

Without a limit a client that opens connections and says nothing takes all descriptors of the process: then no run
can open a disk or a pack any more.  The limit leaves most descriptors to the runs.  Whoever is slow, by intent or
because it is gone, is waited for as long as `PATIENCE` says; where all places are taken the one goes that has kept us
waiting longest, so that slow clients keep no place from others.
"""

import asyncio
import json
import resource
import sys
import uuid
from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, cast

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from restead.api.auth import REFUSED
from restead.api.errors import error_body
from restead.domain.errors import Code

log = structlog.get_logger("restead")

MOST = 512  # connections at once


class Wait(Enum):
    """What we wait for from a client."""

    HEAD = "the head of a request"
    BODY = "its body"
    READER = "somebody who reads the answer"
    END = "the end of a connection that we have closed"
    REFUSED = "the time in which it is to guess no other token"


# Seconds, rounded up to the next look.
PATIENCE = {Wait.HEAD: 30.0, Wait.BODY: 60.0, Wait.READER: 60.0, Wait.END: 10.0, Wait.REFUSED: 30.0}
_REFUSALS = {  # what cannot be answered by the API, since no request has come to it
    400: (Code.WRONG_PARAMETER, "this is not HTTP/1.1 as its specification has it"),
    408: (Code.WRONG_PARAMETER, f"the body did not come within {PATIENCE[Wait.BODY]:.0f} seconds"),
    431: (Code.WRONG_PARAMETER, "address and headers of the request are longer than 64 KiB"),
    503: (Code.UNAVAILABLE, f"{MOST} connections are open already"),
}


class BoundedConnection(H11Protocol):
    """A connection that is closed if there are too many, or if its client keeps us waiting too long."""

    patience: ClassVar[Mapping[Wait, float]] = PATIENCE
    look_every = 5.0  # seconds

    _looking: asyncio.TimerHandle | None = None
    _waiting: tuple[object, ...] = ()  # for what, and how far it was when we looked last
    _since = 0.0  # seconds of the loop's clock

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST and not self._displace():
            self._refuse(503)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's own may return True
        """The client says no more: one that has asked in full still gets its answer, and then we close, too."""
        if self.cycle is None or self.cycle.more_body or self.cycle.response_started:
            return None
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """What the client has sent is no HTTP.  Called while h11's error is handled, which hints at a status."""
        hint = getattr(sys.exception(), "error_status_hint", 400)
        self._refuse(hint if hint in _REFUSALS else 400, why=msg)

    # ------------------------------------------------------------------ refusing

    def _refuse(self, status: int, why: str = "") -> None:
        """Answer with *status*, unless an answer has begun, and close; whoever works on one hears so."""
        code, message = _REFUSALS[status]
        log.info("connection refused", status=status, reason=why or message)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(error_body(status, code, message)).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))),
                       ("Connection", "close"), ("X-Openstack-Request-Id", f"req-{uuid.uuid4()}")]  # fmt: skip
            headers += [("Retry-After", "5")] if status == 503 else []
            head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
            said = (h11.Response(status_code=status, headers=headers), h11.Data(data=b"" if head else body))
            for event in (*said, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _displace(self) -> bool:
        """Close the one that keeps us waiting longest, first of those without a good token; False if none does."""
        others = cast("set[BoundedConnection]", self.connections)
        slow = [other for other in others if other is not self and other._is_waited_for()]
        if not slow:
            return False
        longest = min(slow, key=lambda other: (not other._is_refused(), other._since))
        log.warning("connection closed: too many", most=MOST, waited_for=cast("Wait", longest._waiting[0]).value)
        longest.transport.abort()
        return True

    def _is_refused(self) -> bool:
        """Tell whether the last request had no good token."""
        return self.cycle is not None and REFUSED in self.scope["state"]

    # ------------------------------------------------------------------ waiting

    def _look(self) -> None:
        """Look at the client now and again, until the connection is gone."""
        self._looking = self.loop.call_later(self.look_every, self._look)
        if not self._is_waited_for():
            return
        wait = cast("Wait", self._waiting[0])
        if self.loop.time() - self._since < self.patience[wait]:
            return
        log.info("connection closed: its client is too slow", waited_for=wait.value)
        if wait is Wait.BODY:
            self._refuse(408)
        elif wait is Wait.HEAD and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()

    def _is_waited_for(self) -> bool:
        """Tell whether the client is to do something; note since when, if it is not what it was."""
        waiting = self._wait()
        if waiting != self._waiting:
            self._waiting, self._since = waiting, self.loop.time()
        return bool(waiting)

    def _wait(self) -> tuple[object, ...]:
        """Return what we wait for, and what changes as soon as it goes on; nothing if it is our turn."""
        unread = self.transport.get_write_buffer_size()
        if self.transport.is_closing():
            return (Wait.END,)
        if self.cycle is None or self.cycle.response_complete:
            return Wait.HEAD, id(self.cycle)
        if unread and self.cycle.response_started:
            return Wait.READER, unread
        if self.cycle.response_started:
            return ()
        if self._is_refused():
            return Wait.REFUSED, id(self.cycle)
        if self.cycle.more_body:
            return Wait.BODY, id(self.cycle)
        return ()


def use_all_descriptors() -> int:
    """Let this process open as many files as it may; return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
