"""A clock that is set by years removes nothing: what goes for its age waits until the time is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from restead.workflows import Jumps

YEAR, DAY, HOUR = 365 * 86400, 86400, 3600


class Clocks:
    """The wall's, which is set, and the one that only counts."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.set_by = 0.0
        self.jumps = Jumps(self.now, lambda: self.seconds)
        self.done = 0
        self._chore = self.jumps.even(lambda check: setattr(self, "done", self.done + 1))

    def now(self) -> datetime:
        return datetime(2026, 11, 26, tzinfo=UTC) + timedelta(seconds=self.seconds + self.set_by)

    def passes(self, seconds: float) -> bool:
        """Let time pass; tell whether the chore is done then."""
        self.seconds += seconds
        before = self.done
        self._chore(lambda: None)
        return self.done > before


def test_while_the_clock_goes_evenly_it_is_done() -> None:
    clocks = Clocks()
    assert clocks.passes(10)
    assert clocks.passes(10 * YEAR)
    assert clocks.jumps.warnings() == []


def test_corrections_are_no_jumps_however_many() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.set_by += 0.4 * HOUR
        assert clocks.passes(60)


@pytest.mark.parametrize(("by", "way"), [(5 * YEAR, "forward"), (-5 * YEAR, "back")])
def test_a_jump_holds_it_up_until_it_is_put_right(by: float, way: str) -> None:
    clocks = Clocks()
    clocks.set_by = by
    assert not clocks.passes(10)
    assert [f"1825 days, 0:00:00 {way}" in said for said in clocks.jumps.warnings()] == [True]
    assert not clocks.passes(DAY / 2)
    clocks.set_by = 0
    assert clocks.passes(10)
    assert clocks.jumps.warnings() == []


def test_a_time_that_goes_on_for_a_day_is_believed() -> None:
    """Somebody has set it right, or the machine was paused."""
    clocks = Clocks()
    clocks.set_by = 3 * DAY
    assert not clocks.passes(10)
    assert not clocks.passes(DAY - 20)
    assert clocks.passes(30)
    clocks.set_by = 0
    assert not clocks.passes(10)


def test_each_jump_waits_its_own_day() -> None:
    clocks = Clocks()
    clocks.set_by = 3 * DAY
    assert not clocks.passes(DAY - 10)
    clocks.set_by = YEAR
    assert not clocks.passes(20)
    assert not clocks.passes(DAY - 30)
    assert clocks.passes(40)
