"""The real log does what the model says, in any order of steps.

A random walk goes through the model; whatever a step of it says to the log is said to the real one, by one
of three that know more or less of the present.  After every step the real state must say what the model's
does.  In between, entries that the model holds void are written past all checks: they must change nothing.
"""

import random
from collections.abc import Iterator

import pytest
from tests.repository import log_model
from tests.repository.log_model import Rules, Scenario, World
from tests.repository.log_parts import P, put_raw, the_log

from restead.domain.errors import ResteadError
from restead.domain.ids import ManifestId
from restead.drivers.blobs import MemoryBlobs
from restead.repository.log import Commit, Condemn, Delete, End, Event, Log, Open, Phase, Progress, Removed, State

RULES = Rules()
WALKS = 150


class Mirror:
    """Says to the real log what a model's step says, and knows which real number stands for what."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.store = MemoryBlobs()
        self.logs = [the_log(self.store, every=7) for _ in range(3)]
        self.sessions: dict[int, int] = {}  # index in the model → number
        self.manifests: dict[str, ManifestId] = {}
        self.lists: dict[str, int] = {}
        first = self.say(Open("first", P))
        self._committed("M", self.say(Commit(first, [(b"M" * 32, "M")])))
        self.say(End(first))

    def say(self, event: Event) -> int:
        log = self.chance.choice(self.logs)
        if self.chance.random() < 0.3:
            log.refresh()
        return log.append(event)

    def _committed(self, name: str, number: int) -> None:
        self.manifests[name] = ManifestId(f"{number}.0")

    def follow(self, before: World, after: World, label: str) -> None:
        """Say what happened between two states of the model; a step says at most one thing."""
        for i, (was, now) in enumerate(zip(before.sessions, after.sessions, strict=True)):
            if was != now:
                self._session(i, now, label, after)
        if after.partial and not before.partial:
            self._committed("partial", self.say(Progress(self.sessions[0], [(b"p" * 32, "partial")])))
        for gone in before.live - after.live:
            self.say(Delete([self.manifests[gone]]))
        for new in after.lists - before.lists:
            self.lists[new.name] = self.say(Condemn([_pack(pack) for pack in new.packs]))
        for done in before.lists - after.lists:
            self.say(Removed(self.lists[done.name]))

    def _session(self, i: int, now: log_model.Session, label: str, after: World) -> None:
        match now.phase:
            case "open":
                self.sessions[i] = self.say(Open(f"session {i}", P, [self.manifests[now.reads]] if now.reads else []))
            case "committed":
                made = [] if now.pins else [(b"w" * 32, f"W{i}")]
                pins = [self.manifests[now.pins]] if now.pins else []
                self._committed(f"W{i}", self.say(Commit(self.sessions[i], made, pins)))
            case "ended":
                self.say(End(self.sessions[i], unpin=label.endswith("unpins")))

    def assert_says(self, world: World, state: State) -> None:
        phases = {i: state.sessions[n].phase if n in state.sessions else Phase.ENDED for i, n in self.sessions.items()}
        assert phases == {i: Phase(world.sessions[i].phase) for i in self.sessions}
        assert set(state.manifests) == {self.manifests[name] for name in world.live}
        assert bool(state.partial) == world.partial
        assert bool(state.needed) == log_model.needed(world, RULES)
        assert state.condemned == {_pack(pack) for pack in log_model.condemned(world, RULES)}
        assert {(one.number, one.packs, one.waits) for one in state.condemnations.values()} == {
            (self.lists[one.name], frozenset(map(_pack, one.packs)), frozenset(self.sessions[i] for i in one.waits))
            for one in world.lists
        }

    def void_events(self, world: World) -> Iterator[Event]:
        """Yield what a writer might still say that does not know what has happened."""
        for i, number in self.sessions.items():
            if world.sessions[i].phase != "open":
                yield Commit(number, [(b"v" * 32, "void")])
                yield Progress(number, [(b"v" * 32, "void")])
            if world.sessions[i].phase == "ended" and not world.sessions[i].pins:
                yield End(number)
        for name, manifest in self.manifests.items():
            if name not in world.live and not (name == "partial" and world.partial):
                yield Open("void", P, [manifest])
                yield Delete([manifest])
        for one in world.lists:
            if any(world.sessions[i].phase == "open" for i in one.waits):
                yield Removed(self.lists[one.name])

    def say_something_void(self, world: World) -> None:
        events = list(self.void_events(world))
        if not events:
            return
        event, log = self.chance.choice(events), self.chance.choice(self.logs)
        with pytest.raises(ResteadError):
            log.append(event)
        put_raw(self.store, log, event)


def _pack(name: str) -> bytes:
    return name.encode().ljust(32)


def _weight(label: str) -> float:
    """Somebody who ends and deletes may always; were all steps as likely, hardly anybody would get anywhere."""
    if "progress" in label or "partial" in label:
        return 4
    return 0.1 if label.startswith("somebody") else 1


def _walk(seed: int, scenario: Scenario) -> None:
    chance = random.Random(seed)
    mirror = Mirror(chance)
    world = log_model._start(scenario)
    while choices := list(log_model.steps(world, scenario, RULES)):
        choices.sort(key=lambda step: (step[0], sorted(step[1].packs)))
        label, after = chance.choices(choices, [_weight(label) for label, _ in choices])[0]
        mirror.follow(world, after, label)
        world = after
        if chance.random() < 0.3:
            mirror.say_something_void(world)
        mirror.assert_says(world, chance.choice(mirror.logs).refresh())
    states = [log.refresh() for log in [*mirror.logs, the_log(mirror.store)]]
    assert states == [states[0]] * 4
    _check_snapshots(mirror.store, mirror.logs[0])


def _check_snapshots(store: MemoryBlobs, log: Log) -> None:
    for name, _ in store.list("snapshot/"):
        log.check_snapshot(int(name.removeprefix("snapshot/")))


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(writers=2, progress=True, reappear=True),
        Scenario(writers=1, restorer=True, collectors=2),
        Scenario(writers=3, restorer=True, collectors=3, progress=True, reappear=True),
    ],
)
def test_the_real_log_follows_the_model(scenario: Scenario) -> None:
    for seed in range(WALKS):
        print(f"seed {seed}")
        _walk(seed, scenario)
