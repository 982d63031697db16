"""CSBS v1 over HTTP: parse, ask the service, render; nothing about the product is decided here."""

from collections.abc import Callable, Sequence
from functools import cache, partial

from fastapi import FastAPI

from restead import __version__
from restead.api import (
    backups,
    capabilities,
    checkpoints,
    notices,
    operations,
    pages,
    policies,
    quotas,
    replication,
    reports,
    restore_actions,
    restore_events,
    restores,
    server_actions,
    servers,
    status,
    tags,
    versions,
    watch,
)
from restead.api.auth import Door
from restead.api.edge import Edge
from restead.api.errors import LastResort, add_handlers
from restead.api.guessing import Guesses
from restead.api.metrics import Measured, Meter, Watching
from restead.api.openapi import document
from restead.api.proxy import BehindProxy
from restead.api.trail import Trail
from restead.ports import Identity
from restead.service import Service

__all__ = ["BehindProxy", "Guesses", "Meter", "Watching", "create_api"]

_DESCRIPTION = "Backs up whole servers and brings them back, bit for bit: Cloud Server Backup Service, version 1."


def create_api(
    service: Service,
    identity: Identity,
    *,
    base_url: str | None = None,
    identity_url: str | None = None,
    warnings: Callable[[], Sequence[str]] = tuple,
    guesses: Guesses | None = None,
    watching: Watching | None = None,
    is_foreign: Callable[[str], bool] = lambda _: False,
) -> FastAPI:
    """Return the API as an ASGI application.

    *base_url*: `https://host[:port][/prefix]` under which clients reach it; None: as each request says.
    *identity_url*: address of the identity service, if there is one; told where a restore names no target.
    *warnings*: sentences for whoever runs the service, asked for at each look at its status.
    *guesses*: slows down whoever guesses tokens; None: nobody is.
    *watching*: what operators watch, and who may; None: as `Watching` has it.
    *is_foreign*: whether a token is for another identity service to judge, which may be slow.
    """
    app = FastAPI(
        title="restead",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,  # served by pages.py, as everything else with our headers
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.ending = False  # set it when the process is about to end: streams of events then end, too
    app.state.followers = 0  # streams of events that are open
    watching = watching or Watching()
    app.state.door = Door(service, identity, base_url, identity_url, warnings, guesses, watching, is_foreign)
    for noun in (
        versions, checkpoints, capabilities, backups, restores, restore_actions, restore_events, quotas, servers,
        server_actions, status, operations, policies, reports, tags, replication, notices, pages, watch,
    ):  # fmt: skip
        app.include_router(noun.router)
    add_handlers(app)
    app.add_middleware(LastResort)
    app.add_middleware(Trail)
    app.add_middleware(Measured, meter=watching.meter)
    app.add_middleware(Edge)  # the last one added is the outermost
    # FastAPI's own way of changing the document, which is made when it is asked for first.
    app.openapi = cache(partial(document, app))  # type: ignore[method-assign]
    return app
