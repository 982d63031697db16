"""Anything fails, in every way, once or until nothing helps: a restore never says what is not so.

`RESTEAD_FUZZ=20000 pytest tests/stories/test_restore_faults.py` takes any number of cases.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.stories.honesty import hints_are_true, is_honest, nothing_is_left
from tests.stories.test_restore_power_cut import Scene, scene

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.states import RestoreState
from restead.records import RecordsUnavailable

CASES = int(os.environ.get("RESTEAD_FUZZ", "600"))
SHARES = 4
ERRORS: list[Callable[[], Exception]] = [
    lambda: Unavailable("a fault"),
    lambda: Damaged("a fault", ranges=[(0, 512)]),
    lambda: NotFound("a fault"),
    lambda: InvalidRequest("a fault"),
    lambda: KeyError("a bug"),
]
CALLS = (
    "records", "records", "", "", "", "get ", "put ",
    "cloud: read", "cloud: reread", "cloud: extents", "cloud: write", "cloud: blank",
    "cloud: flush", "cloud: generation", "cloud: changed_since",
    "cloud: reserve", "cloud: punch", "cloud: open_target", "cloud: stop", "cloud: start",
)  # fmt: skip


@dataclass
class Faults:
    """What fails: the *at*-th call of a kind, and so many more of them."""

    kind: str
    at: int
    times: int
    error: Callable[[], Exception]
    met: int = 0
    seen: int = 0

    def __call__(self, what: str) -> None:
        if not what.startswith(self.kind):
            return
        self.seen += 1
        if self.at <= self.seen < self.at + self.times:
            self.met += 1
            # The records raise nothing else: whatever is wrong with them, they do not answer.
            raise RecordsUnavailable("a fault") if what.startswith("records") else self.error()


def _faults(chance: random.Random) -> Faults:
    times = chance.choice((1, 1, 1, 2, 3, 10**6))
    at = min(int(chance.expovariate(1 / 4)) + 1, 60)
    return Faults(chance.choice(CALLS), at, times, chance.choice(ERRORS))


def _drain(it: Scene, *, again: bool = False) -> None:
    try:
        if again:
            it.house.engine.take_up()
        it.house.drain()
    except RecordsUnavailable:
        pass  # before a run was claimed, or at its end


def _case(it: Scene, seed: int) -> bool:
    """Tell a restore with faults to its end; return whether they were met."""
    chance = random.Random(seed)
    first, second = _faults(chance), _faults(chance)
    house, safe, readback = it.house, chance.random() < 0.85, chance.random() < 0.3
    house.rewind(it.saved)
    house.cloud.tracks = chance.random() < 0.5
    extensions: dict[str, bool | str] = {} if safe else {"safety": False}
    if readback:
        extensions["verify"] = "readback"
    promised = house.restore(it.backup, power_on=True, wait=False, **extensions)

    def fault(what: str) -> None:
        first(what)
        if first.met:
            second(what)

    house.power.fault = fault
    _drain(it)
    if chance.random() < 0.5:  # the records are out of reach no longer, and a lease runs out; all else fails on
        _drain(it, again=True)
    house.power.fault = lambda what: None
    house.engine.take_up()
    house.drain()
    restore = house.service.restores.restore(house.caller, promised.project_id, promised.id)
    is_honest(house, it.server, restore, it.wanted, it.before, safe=safe)
    if house.repository.log.refresh().sessions:
        house.protect(house.server((512,), name="other"))  # whoever comes next ends what could not be ended
    nothing_is_left(house, faults=True)
    hints_are_true(house)
    if chance.random() < 0.1:
        again = house.restore(it.backup, power_on=True)
        assert (again.state, house.disks(it.server)) == (RestoreState.SUCCESS, it.wanted)
    elif safe and chance.random() < 0.1 and restore.safety_checkpoint_id is not None:
        undone = house.undo(restore)
        assert (undone.state, house.disks(it.server)) == (RestoreState.SUCCESS, it.before)
    return bool(first.met)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_restore_with_faults_ends_honestly(share: int) -> None:
    """Never success with wrong bytes, never a mixture handed back as good, never a server started on doubtful disks."""
    met = 0
    with scene() as it:
        for seed in range(share, CASES, SHARES):
            try:
                met += _case(it, seed)
            except BaseException:
                print(f"seed {seed}")
                raise
    assert met > CASES // SHARES // 3
