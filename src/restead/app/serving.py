"""The service as a process: everything put together, started, and ended in order."""

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
import uvicorn

from restead import __version__
from restead.api import BehindProxy, Guesses, Meter, Watching, create_api
from restead.app.chores import Parts, set_up_chores
from restead.app.connections import BoundedConnection, use_all_descriptors
from restead.app.identity import identity_of, is_foreign
from restead.app.listening import bind, url_of
from restead.app.logs import set_up_logs
from restead.app.niceness import IN_VAIN, is_in_vain
from restead.app.opening import Opened, opened
from restead.app.telling import ways
from restead.domain.backup import BackupRules
from restead.domain.errors import Damaged
from restead.domain.policy import PolicyLimits
from restead.domain.quota import QuotaLimits
from restead.domain.restore import any_zone
from restead.drivers.blobs import OneWriter
from restead.records import Records, RunLimits, moments
from restead.repository import Keyring, Repository
from restead.service import Rules, Service
from restead.settings import Settings
from restead.workflows import Comparer, CopyKeeper, Engine, Jumps, stories
from restead.workflows.holding import hold
from restead.workflows.stock import warnings_of
from restead.workflows.verify import warnings_of as damage_warnings

log = structlog.get_logger("restead")

_UNCONFIRMED = (
    "nobody has confirmed that the recovery key is kept elsewhere; without it, losing the key file or passphrase "
    "loses every backup: restead key export, then restead key confirm"
)


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT; print where it listens as soon as it does.

    Raises:
        InvalidRequest, Unavailable, Damaged: it cannot start; nothing was begun.
    """
    set_up_logs(settings)
    use_all_descriptors()
    told = ways(settings)
    with opened(settings, serving=True) as house, bind(settings) as listener:
        with house.folder.setting_up():
            repository = house.repository()
        url = url_of(listener, settings)
        house.folder.announce(url)
        disagreement = _disagreement(house, repository)
        copies = CopyKeeper(house.records, repository, house.server_definitions)
        with house.records.read() as tx:
            jumps = Jumps(moments.moments(tx))
        rules, meter = _rules(settings), Meter()
        with _engine(Parts(house, repository, copies, rules, meter, jumps, told)) as engine:
            passing = (copies.warnings, jumps.warnings, engine.warnings)
            warnings = _warnings(repository.keyring, disagreement, house.records, passing)
            api = create_api(
                Service(
                    house.records, house.cloud, engine.submit, rules, Comparer(repository, house.cloud),
                    partial(hold, repository), {name: way.notifier for name, way in told.items()},
                ),
                identity_of(house),
                base_url=settings.public_url or None,
                identity_url=settings.identity_url or None,
                warnings=warnings,
                guesses=Guesses(),
                is_foreign=is_foreign,
                watching=Watching(meter, settings.metrics, settings.metrics_servers, lambda: engine.works),
            )
            _answer(api, listener, settings, lambda: _say_ready(url, house, warnings()))
    log.info("service ended")


def _say_ready(url: str, house: Opened, warnings: Sequence[str]) -> None:
    print(f"listening on {url}", flush=True)  # noqa: T201  a result: whoever started us waits for this line
    log.info("service ready", url=url, data=str(house.folder.path), version=__version__)
    if house.settings.backup_nice and is_in_vain():
        log.info(IN_VAIN)
    if house.libvirt is not None and house.libvirt.far:
        log.warning("libvirt_uri names another machine: its domains are shown, started and stopped, their disks "
                    "are not backed up from here", host=house.libvirt.far)  # fmt: skip
    for warning in warnings:
        log.warning(warning)


@contextmanager
def _engine(parts: Parts) -> Iterator[Engine]:
    """The engine, started; in the end runs come to a resting place and are taken up at the next start."""
    house, settings = parts.house, parts.house.settings
    told = stories(
        house.records, parts.repository, house.cloud, house.cloud, grace=timedelta(seconds=settings.stop_grace),
        quotas=parts.rules.quotas, nice=settings.backup_nice,
    )  # fmt: skip
    limits = RunLimits(settings.runs_per_driver, settings.runs_per_host)
    engine = Engine(house.records, told, workers=settings.runs, limits=limits, watch=parts.meter.ended)
    set_up_chores(engine, parts)
    Comparer(parts.repository, house.cloud).end_dead_sessions()
    taken_up = engine.take_up()
    if taken_up:
        log.info("runs taken up again", runs=taken_up)
    engine.start()
    grace = timedelta(seconds=settings.shutdown_grace)
    try:
        yield engine
    finally:
        if not engine.stop(grace):
            log.warning("a run did not come to rest in time; the next start takes it up again")
        parts.copies.keep_last(grace)


def _rules(settings: Settings) -> Rules:
    return Rules(
        backup=BackupRules(shared_disks=settings.shared_disks),
        zones=any_zone if settings.restore_between_zones else lambda source, target: source == target,
        quotas=QuotaLimits(settings.quota_backups, settings.quota_capacity),
        restores_without_safety=settings.restores_without_safety,
        policies=PolicyLimits(settings.policies, settings.policy_servers),
        schedule_jitter=timedelta(seconds=settings.schedule_jitter),
    )


def _disagreement(house: Opened, repository: Repository) -> Sequence[str]:
    """What repository and records say differently: looked for once, since only a start on other files changes it."""
    try:
        return [*_single_writer(house), *warnings_of(house.records, repository)]
    except Damaged as error:
        return [f"the repository cannot be read: {error.message}"]


def _single_writer(house: Opened) -> Sequence[str]:
    """Say that nobody else may write to the repository, if it is so.  Raises Unavailable if somebody else does."""
    if not (isinstance(house.store, OneWriter) and house.store.check()):
        return []
    return [f"{house.address} lets two puts of one name win, so this service's data folder alone may write to it"]


def _warnings(
    keyring: Keyring, lasting: Sequence[str], records: Records, passing: Sequence[Callable[[], Sequence[str]]]
) -> Callable[[], Sequence[str]]:
    def warnings() -> Sequence[str]:
        if not keyring.recovery_confirmed:
            keyring.refresh()  # the command line may have confirmed it in another process
        unconfirmed = () if keyring.recovery_confirmed else (_UNCONFIRMED,)
        return (*unconfirmed, *lasting, *(said for each in passing for said in each()), *damage_warnings(records))

    return warnings


class _Server(uvicorn.Server):
    """Says when it listens, and when it is about to end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def _answer(api: Any, listener: socket.socket, settings: Settings, ready: Callable[[], None]) -> None:
    """Answer requests until a signal comes; requests that are being answered then get their answer, streams end."""
    config = uvicorn.Config(
        BehindProxy(api) if settings.behind_proxy else api,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=BoundedConnection,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        proxy_headers=False,  # uvicorn's own believes what the proxy's caller says of himself
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    # uvicorn raises a signal again once it has ended for it: by then it must do nothing, or we would die here
    # instead of bringing the runs to rest.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _Server(config, ready, lambda: setattr(api.state, "ending", True)).run(sockets=[listener])
