"""How many connections are served at once, and how long one may stay silent.

Without a limit a client that opens connections and says nothing takes all descriptors of the process: then no run
can open a disk or a pack any more.  The limit leaves most descriptors to the runs.
"""

import asyncio
import resource
from typing import cast

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger("restead")

MOST = 512  # connections at once; more are closed at once
HEAD_SECONDS = 30.0  # in which the head of the first request must have arrived


class BoundedConnection(H11Protocol):
    """A connection that is closed if there are too many, or if it never asks for anything."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            log.warning("connection closed: too many", connections=len(self.connections), most=MOST)
            transport.abort()
            return
        self._silence = self.loop.call_later(HEAD_SECONDS, self._end_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        if silence := getattr(self, "_silence", None):
            silence.cancel()
        super().connection_lost(exc)

    def _end_silence(self) -> None:
        if self.cycle is None:
            cast("asyncio.Transport", self.transport).close()


def use_all_descriptors() -> int:
    """Let this process open as many files as it may; return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
