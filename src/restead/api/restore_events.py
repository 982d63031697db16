"""The story of a restore as server-sent events: what has happened so far, and what happens while one listens.

A stream that breaks is taken up where it broke: whoever reconnects with `Last-Event-ID` misses nothing and gets
nothing twice.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, with_config
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from restead.api.answers import Time, Whole, one_of
from restead.api.answers import time as shown
from restead.api.auth import Call, may
from restead.api.edge import is_head
from restead.api.openapi import documented
from restead.domain.caller import Action
from restead.domain.errors import Code, InvalidRequest, Unavailable
from restead.domain.ids import RestoreId
from restead.domain.run import RunEvent, Told
from restead.domain.states import RestoreState

KINDS = (Told.ACCEPTED, Told.STOPPING, Told.COMPARING, Told.WRITING, Told.PROGRESS, Told.PROVING, Told.PUTTING_BACK,
         Told.STARTING, Told.RESUMED, Told.END)  # fmt: skip

MOST = 256  # streams at once: half of all connections
_PAUSE = 0.25  # seconds between looks for what is new
_QUICK = 64  # streams that may look so often: each look asks the records, and many would leave no time for others
_QUIET = 10.0  # seconds after which something is sent even if nothing happens, so that nobody takes us for dead
_LONGEST = 600.0  # seconds; who listens longer reconnects, and its token is looked at again
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies must not gather what is sent

router = APIRouter(prefix="/v1/{project_id}/restores", tags=["Restores"])


@with_config(ConfigDict(extra="allow"))
class EventView(TypedDict):
    """One event of a restore; the numbers that belong to its kind are further members."""

    id: Whole
    at: Time
    kind: Annotated[str, one_of(*(kind.value for kind in KINDS))]
    subject: str


@router.get(
    "/{restore_id}/events",
    **documented(
        "followRestore", "Follow a restoration task", answers=EventView, streams=True, codes=[Code.TASK_NOT_FOUND]
    ),
)
async def follow_restore(call: Annotated[Call, Depends(may(Action.RESTORES_GET))], restore_id: str) -> Response:
    """The events so far, then each as it happens; `end` is the last.  With `Last-Event-ID` those behind it."""
    story = _Story(call, RestoreId(restore_id), _last_seen(call))
    first = await run_in_threadpool(story.look)  # what is wrong is told before the stream begins
    if is_head(call.request):
        return Response(media_type="text/event-stream", headers=_HEADERS)
    return _Stream(_lines(story, first), media_type="text/event-stream", headers=_HEADERS)


class _Stream(StreamingResponse):
    """One of no more than `MOST`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["app"].state
        if state.followers >= MOST:
            raise Unavailable(f"{state.followers} callers follow restores already: ask for this one now and then")
        state.followers += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            state.followers -= 1


class _Story:
    """What one listener has got, and what is new to it."""

    def __init__(self, call: Call, id: RestoreId, after: int) -> None:
        self._call = call
        self._id = id
        self._after = after
        self.ended = False  # nothing follows what the last look has found

    @property
    def ending(self) -> bool:
        """Whether the service is about to end."""
        return bool(self._call.request.app.state.ending)

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return int(self._call.request.app.state.followers)

    def look(self) -> Sequence[RunEvent]:
        """Return the events behind the last one that was found.

        Raises:
            NotFound: there is no such restore.
        """
        restores, who = self._call.service.restores, (self._call.caller, self._call.project_id, self._id)
        told = partial(restores.events, *who)
        # The state first: a restore that has ended before we look for events has told all of them.
        over = restores.restore(*who).state is not RestoreState.IN_PROGRESS
        found = told(after=self._after)
        if over and not found and self._after:
            found = told(after=self._after - 1)  # it has all of them already: the last one tells it so
        self.ended = any(event.kind is Told.END for event in found) or (over and not found)
        self._after = max([self._after, *(event.id for event in found)])
        return found


async def _lines(story: _Story, found: Sequence[RunEvent]) -> AsyncIterator[str]:
    began = spoke = time.monotonic()
    yield "retry: 1000\n\n"
    while True:
        for event in found:
            spoke = time.monotonic()
            yield message(event)
        if story.ended or story.ending or time.monotonic() - began > _LONGEST:
            return
        if time.monotonic() - spoke > _QUIET:
            spoke = time.monotonic()
            yield ": still here\n\n"
        if not found:
            await asyncio.sleep(pause(story.followers))
        found = await run_in_threadpool(story.look)


def pause(followers: int) -> float:
    """Return the seconds until the next look: however many streams there are, together they look no more often."""
    return _PAUSE * max(1.0, followers / _QUICK)


def message(event: RunEvent) -> str:
    """Return an event as it is sent; a line of its own, since all but ASCII is escaped."""
    data = json.dumps(view(event), allow_nan=False, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind.value}\ndata: {data}\n\n"


def view(event: RunEvent) -> dict[str, Any]:
    """Return an event as clients read it."""
    about = EventView(id=event.id, at=shown(event.at), kind=event.kind.value, subject=event.subject)
    return {**event.numbers, **about}


def _last_seen(call: Call) -> int:
    text = call.request.headers.get("last-event-id", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"Last-Event-ID: {text[:64]!r} is not the id of an event")
    return int(text)
