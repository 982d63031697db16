"""What operators watch, as Prometheus reads it: counters of this process, and figures out of the rows.

Each name is described in docs/operate.md.  Labels are words of ours, ids of projects and servers, and templates of
routes: never what a caller has sent, which would make series without an end.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restead import __version__
from restead.api.trail import code_of
from restead.domain.errors import Code
from restead.domain.figures import Ended, Figures, Telling
from restead.domain.notice import Hearing, Tried

Readers = Literal["off", "token", "loopback", "everyone"]

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})  # HEAD is GET by now
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nobody asks for


class Meter:
    """The counters of one process.  All methods may be called from several threads at once."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter("restead_requests_total", "Requests that were answered.",
                                 ["method", "route", "status"], registry=registry)  # fmt: skip
        self._seconds = Histogram("restead_request_seconds", "Seconds until an answer began.", ["method", "route"],
                                  buckets=_SECONDS, registry=registry)  # fmt: skip
        self._errors = Counter("restead_errors_total", "Answers with an error, by its code.", ["code"],
                               registry=registry)  # fmt: skip
        self._ended = Counter("restead_runs_ended_total", "Runs that have ended.", ["kind", "outcome"],
                              registry=registry)  # fmt: skip
        self._read = Counter("restead_backup_read_bytes_total", "Bytes of disks that backups have read.",
                             registry=registry)  # fmt: skip
        self._stored = Counter("restead_backup_stored_bytes_total", "Bytes that backups have stored.",
                               registry=registry)  # fmt: skip
        self._written = Counter("restead_restore_written_bytes_total", "Bytes of disks that restores have written.",
                                registry=registry)  # fmt: skip

        self._sent = Counter("restead_notices_sent_total", "Notices that were taken.", ["recipient"],
                             registry=registry)  # fmt: skip
        self._not_sent = Counter("restead_notices_failed_total", "Tries of notices that were not taken.", ["recipient"],
                                 registry=registry)  # fmt: skip

    def ended(self, run: Ended) -> None:
        """Count a run that has ended."""
        self._ended.labels(run.kind.value, run.outcome).inc()
        self._read.inc(run.read)
        self._stored.inc(run.stored)
        self._written.inc(run.written)

    def tried(self, tried: Tried) -> None:
        """Count a try to tell somebody something."""
        counter = self._sent if tried.hearing is Hearing.TAKEN else self._not_sent
        counter.labels(tried.recipient).inc(tried.notices)

    def answered(self, method: str, route: str, status: int, code: str, seconds: float) -> None:
        """Count an answer; *status* 0: there was none, since the caller had gone."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status) if status else "none").inc()
        self._seconds.labels(method, route).observe(seconds)
        if code:
            self._errors.labels(code).inc()


@dataclass(frozen=True, slots=True)
class Watching:
    """What operators watch, and who may."""

    meter: Meter = field(default_factory=Meter)
    readers: Readers = "loopback"
    servers: int = 1000  # of how many the age of the last good backup is told, at most
    engine_works: Callable[[], bool] = lambda: True


def exposition(meter: Meter, figures: Figures | None, *, engine_works: bool) -> bytes:
    """Return all of it as text; *figures*: None if the records do not answer, whose series are absent then."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Rows(figures, engine_works))
    return generate_latest(meter.registry) + generate_latest(registry)


class _Rows(Collector):
    """What is told as it is at this moment."""

    def __init__(self, figures: Figures | None, engine_works: bool) -> None:
        self._figures = figures
        self._engine_works = engine_works

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("restead_build_info", "Always 1, with the version that runs.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _one("restead_engine_up", "Whether runs are begun.", self._engine_works)
        yield _one("restead_records_up", "Whether the records answer.", self._figures is not None)
        if self._figures is not None:
            yield from _of_runs(self._figures)
            yield from _of_the_repository(self._figures)
            yield from _of_telling(self._figures.telling)
            yield from _of_servers(self._figures)


def _of_runs(figures: Figures) -> Iterator[Metric]:
    runs = GaugeMetricFamily("restead_runs", "Runs that have not ended.", labels=["kind", "state"])
    for (kind, state), number in figures.runs.items():
        runs.add_metric([kind.value, state.value], number)
    yield runs
    yield _one("restead_queue_length", "Runs that wait.", figures.waiting)
    yield _one("restead_queue_wait_seconds", "Since when the oldest of them waits.",
               figures.longest_wait.total_seconds())  # fmt: skip


def _of_the_repository(figures: Figures) -> Iterator[Metric]:
    looked = figures.looked
    if looked is not None:
        yield _one("restead_repository_findings", "Damaged objects that the last verification found.", looked.findings)
        yield _one("restead_repository_damaged_disks", "Disk backups of which it found some lost.", looked.disks)
        yield _one("restead_repository_verification_age_seconds", "Since that verification began.",
                   looked.age.total_seconds())  # fmt: skip


def _of_telling(telling: Telling) -> Iterator[Metric]:
    yield _one("restead_notices_waiting", "Notices that somebody is still to be told.", telling.waiting)
    yield _one("restead_notices_dead", "Notices that were given up.", telling.dead)
    yield _one("restead_notices_wait_seconds", "Since when the oldest that waits does.",
               telling.longest_wait.total_seconds())  # fmt: skip


def _of_servers(figures: Figures) -> Iterator[Metric]:
    ages = GaugeMetricFamily("restead_last_good_backup_age_seconds", "Since a server's last good backup; +Inf: none.",
                             labels=["project", "server"])  # fmt: skip
    for each in figures.servers:
        ages.add_metric([each.project_id, each.server_key], math.inf if each.age is None else each.age.total_seconds())
    yield ages
    yield _one("restead_last_good_backup_age_complete", "Whether every server is told of.", figures.every_server)


def _one(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value=float(value))


class Measured:
    """ASGI middleware: counts what is answered, and how long that took to begin."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self.app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, seconds, status = time.monotonic(), 0.0, 0

        async def answer(message: Message) -> None:
            nonlocal seconds, status
            if message["type"] == "http.response.start":
                seconds, status = time.monotonic() - began, message["status"]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            code = code_of(scope) or (Code.INTERNAL.value if status == 500 else "")
            route = getattr(scope.get("route"), "path", "other")
            self._meter.answered(scope["method"], route, status, code, seconds if status else time.monotonic() - began)
