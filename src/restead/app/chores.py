"""What a service does by itself, again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from restead.api import Meter
from restead.app.opening import Opened
from restead.app.telling import Way, reach_regularly, tell_regularly
from restead.domain.notice import Matter
from restead.domain.verification import Depth
from restead.repository import Repository
from restead.service import Rules
from restead.workflows import (
    Collecting,
    CopyKeeper,
    Engine,
    Heeded,
    HoldKeeper,
    Jumps,
    LogRetention,
    PolicyRetention,
    Router,
    SafetyRetention,
    Scheduler,
)
from restead.workflows.verify import Regularly, Verifier

_COPY_EVERY = timedelta(seconds=3)  # a burst of changes becomes one copy
_LOOK_EVERY = timedelta(seconds=10)  # at schedules, and at what they have made
_TIDY_EVERY = timedelta(minutes=1)
_TIME_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the engine of a service works with."""

    house: Opened
    repository: Repository
    copies: CopyKeeper
    rules: Rules
    meter: Meter
    jumps: Jumps
    ways: Mapping[str, Way]  # to who is told what happens


def set_up_chores(engine: Engine, parts: Parts) -> None:
    """Have the engine do all of them; call before it starts."""
    house, settings, records = parts.house, parts.house.settings, parts.house.records
    _remove_regularly(engine, parts)
    if settings.verify_every:
        verifier, days = Verifier(records, parts.repository), timedelta(days=settings.verify_every)
        depth, rate = Depth(settings.verify_depth), settings.verify_rate or None
        engine.do_regularly(Regularly(verifier, records, days, depth, rate), name="verifying the repository")
    scheduler = Scheduler(records, house.cloud, engine.submit, parts.rules.backup, parts.rules.quotas,
                          parts.rules.schedule_jitter)  # fmt: skip
    engine.do_regularly(scheduler, _LOOK_EVERY)
    engine.do_regularly(parts.copies, _COPY_EVERY)
    engine.do_regularly(parts.jumps.keeping(records), _TIME_EVERY)
    engine.do_regularly(house.images.clean_up, _TIDY_EVERY)
    if house.libvirt is not None:
        engine.do_regularly(house.libvirt.clean_up, _TIDY_EVERY)
    reach_regularly(engine, records, parts.repository)
    router = Router(records, [way.recipient for way in parts.ways.values()], timedelta(days=settings.log_keep),
                    may_forget=lambda: not parts.jumps.warnings())  # fmt: skip
    tell_regularly(engine, records, router, parts.ways, settings, parts.meter.tried)


def _remove_regularly(engine: Engine, parts: Parts) -> None:
    """What goes for its age waits while the clock is not believed; what nothing needs does not."""
    settings, records, even = parts.house.settings, parts.house.records, parts.jumps.even
    safety = SafetyRetention(records, engine.submit, timedelta(days=settings.safety_keep))
    engine.do_regularly(even(safety))
    engine.do_regularly(even(PolicyRetention(records, engine.submit)), _LOOK_EVERY,
                        "removing what policies do not keep")  # fmt: skip
    engine.do_regularly(even(LogRetention(records, timedelta(days=settings.log_keep))))
    engine.do_regularly(even(HoldKeeper(records, parts.repository)), _TIDY_EVERY)
    if settings.collect_every:
        collecting = Collecting(parts.repository, settings.collect_garbage, settings.collect_small)
        every = timedelta(hours=settings.collect_every)
        heeded = Heeded(records, Matter.COLLECTION, collecting, apart=every)
        engine.do_regularly(heeded, every, "collecting what no backup needs")
