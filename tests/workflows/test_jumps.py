"""A clock that is set by years removes nothing: what goes for its age waits until the time is believed."""

from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from tests.house import House

from restead.records import Records, moments
from restead.records.moments import Moments
from restead.workflows import Jumps

YEAR, DAY, HOUR = 365 * 86400, 86400, 3600


class Clocks:
    """The wall's, which is set, and the one that only counts."""

    def __init__(self, known: Moments | None = None) -> None:
        self.seconds = 1000.0
        self.set_by = 0.0
        self.done = 0
        self._start(known)

    def _start(self, known: Moments | None) -> None:
        self.jumps = Jumps(known, self.now, lambda: self.seconds)
        self._chore = self.jumps.even(lambda check: setattr(self, "done", self.done + 1))

    def restart(self, *, away: float = 60, set_by: float | None = None, records: Records | None = None) -> None:
        """End the service and start it again on a machine that was started anew, with what the records know."""
        known = self.jumps.moments()
        if records is not None:
            self.jumps.keeping(records)(lambda: None)
            with records.read() as tx:
                known = moments.moments(tx) or known
        self.set_by = (self.set_by if set_by is None else set_by) + self.seconds + away - 500
        self.seconds = 500.0  # since that machine started
        self._start(known)

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


@pytest.mark.parametrize(("by", "days"), [(3 * DAY, 1), (-3 * DAY, 1), (-5 * YEAR, 1), (30 * DAY, 3), (YEAR, 36.5)])
def test_a_time_that_goes_on_is_believed(by: float, days: float) -> None:
    """Somebody has set it right, or the machine was paused.  The further ahead the later: that makes backups old."""
    clocks = Clocks()
    clocks.set_by = by
    assert not clocks.passes(10)
    assert f"or has gone on so for {'a day' if days == 1 else f'{ceil(days)} days'}" in clocks.jumps.warnings()[0]
    assert not clocks.passes(days * DAY - 20)
    assert clocks.passes(30)


def test_a_jump_back_that_was_believed_changes_nothing_of_what_is_known() -> None:
    """To set it right is no jump ahead then, by years on a machine that starts in 1970 for want of a battery."""
    clocks = Clocks()
    clocks.set_by = -56 * YEAR
    assert not clocks.passes(10)
    assert clocks.passes(DAY)
    clocks.set_by = 0
    assert clocks.passes(10)
    clocks.set_by = YEAR
    assert not clocks.passes(10)


def test_a_jump_ahead_that_was_believed_is_known() -> None:
    clocks = Clocks()
    clocks.set_by = 3 * DAY
    assert not clocks.passes(10)
    assert clocks.passes(DAY)
    clocks.set_by = 0
    assert not clocks.passes(10)


@pytest.mark.parametrize("way", ["forward", "back"])
def test_a_service_that_starts_with_a_wrong_clock_removes_nothing(way: str) -> None:
    """It is measured by the last moment that the records know; and put right, everything is as before."""
    clocks = Clocks()
    assert clocks.passes(10)
    clocks.restart(set_by=5 * YEAR if way == "forward" else -5 * YEAR)
    assert not clocks.passes(10)
    (said,) = clocks.jumps.warnings()
    assert "the clock has jumped by 182" in said
    assert f" {way}: nothing is removed" in said
    clocks.restart()
    assert not clocks.passes(10)
    clocks.set_by -= 5 * YEAR if way == "forward" else -5 * YEAR
    assert clocks.passes(10)
    assert clocks.jumps.warnings() == []


@pytest.mark.parametrize(("away", "days"), [(0.9 * DAY, 0), (3 * DAY, 1), (60 * DAY, 6)])
def test_a_service_that_was_away_for_long_waits_for_a_tenth_of_that(away: float, days: float) -> None:
    """Nothing tells it from one whose clock is ahead.  A day at least; after less than a day nothing is waited for."""
    clocks = Clocks()
    assert clocks.passes(10)
    clocks.restart(away=away)
    if days:
        assert not clocks.passes(10)
        assert not clocks.passes(days * DAY - 3600)
        clocks.restart()  # what has gone on before a restart counts
        assert not clocks.passes(10)
        clocks.passes(3600)
    assert clocks.passes(10)


def test_what_is_known_of_the_time_is_in_the_records(database: str) -> None:
    records = Records.open(database)
    clocks = Clocks()
    assert clocks.passes(10)
    clocks.restart(set_by=5 * YEAR, records=records)
    assert not clocks.passes(10)
    assert not clocks.passes(DAY)
    clocks.restart(records=records)
    assert not clocks.passes(10)
    with records.read() as tx:
        known = moments.moments(tx)
    assert known is not None
    assert known.newest.year == 2026
    assert known.at is not None
    assert (known.at.year, known.lived) == (2031, DAY)
    records.close()


def test_records_that_keep_no_moment_know_that_of_the_newest_backup(house: House) -> None:
    """Of a release that kept none, or made anew from a repository: perhaps on a machine whose clock is wrong."""
    with house.records.read() as tx:
        assert moments.moments(tx) is None
    backup = house.protect(house.server((8192,)))
    with house.records.read() as tx:
        known = moments.moments(tx)
    assert known is not None
    assert known.newest == backup.protected_at
    clocks = Clocks(Moments(known.newest - timedelta(days=5 * 365)))
    assert not clocks.passes(10)


def test_each_jump_waits_its_own_day() -> None:
    clocks = Clocks()
    clocks.set_by = 3 * DAY
    assert not clocks.passes(DAY - 10)
    clocks.set_by = 6 * DAY
    assert not clocks.passes(20)
    assert not clocks.passes(DAY - 30)
    assert clocks.passes(40)
