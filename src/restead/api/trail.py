"""What goes into the audit trail of each call that would change something: asked, and answered.

What was asked is durable before anything is done; what was answered before the caller hears it.
"""

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restead.domain.audit import Phase, Said
from restead.domain.caller import Action, Caller
from restead.domain.errors import Unavailable
from restead.service import Service

_ASKED, _CODE = "restead.asked", "restead.code"

log = structlog.get_logger("restead.api")


async def note_asked(request: Request, service: Service, caller: Caller, action: Action, project_id: str) -> None:
    """Note that the caller asks for *action*, whether or not they may.  Raises Unavailable: nothing was done."""
    if not action.changes:
        return
    said = Said(
        Phase.ASKED, action.value, f"{request.method} {request.scope['path']}", caller.user, project_id,
        request.client.host if request.client else "", structlog.contextvars.get_contextvars().get("request", ""),
    )  # fmt: skip
    await run_in_threadpool(service.trail.note, said)
    request.scope[_ASKED].append(said)


def note_code(request: Request, code: str) -> None:
    """Keep the code of an error for the trail."""
    request.scope[_CODE] = code


def code_of(scope: Scope) -> str:
    """Return the code of the error that a request was answered with, "" if it was none."""
    return str(scope.get(_CODE, ""))


class Trail:
    """ASGI middleware: notes what is answered to whoever asked for a change."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked: list[Said] = []
        scope[_ASKED] = asked

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and asked:
                outcome = f"{message['status']} {scope.get(_CODE, '')}".strip()
                await _note_answered(scope["app"].state.door.service, asked.pop(), outcome)
            await send(message)

        await self.app(scope, receive, answer)


async def _note_answered(service: Service, asked: Said, outcome: str) -> None:
    try:
        await run_in_threadpool(service.trail.note, asked.answered(outcome))
    except Unavailable as error:
        # It is done or refused by now, and the caller has to know which; the trail shows a call without an answer.
        log.error("the audit trail lacks an answer", detail=error.detail, outcome=outcome)
