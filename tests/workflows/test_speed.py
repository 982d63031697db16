"""How long something will still take, told in simulated time."""

from itertools import pairwise

import pytest

from restead.domain.restore import RestoreStats
from restead.repository import Count, Progress
from restead.workflows.meter import Meter
from restead.workflows.restore_progress import Reading, RestoreProgress
from restead.workflows.speed import WINDOW, Speed

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Restoring:
    """A restore of one disk of 4 GiB under a throttle, whose threads write 8 MiB together, then wait.

    *left*: what was told, as pairs of it and of what is true: what is left to be done at the throttle's rate.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.left: list[tuple[int | None, float]] = []
        self.size = 4096 * MIB
        self.written = 0
        self.due = 0.0  # bytes that wait for the next burst
        self.ideal = 0.0  # what would be written without bursts
        self.rate = 0
        self.progress = RestoreProgress([self.size], RestoreStats(), self._told, self.clock)
        self.progress.compared(0, self.size, 0)
        self.progress.checking(0, Progress(self.size, self.size, Count()))
        self.progress.taken_up(0)

    def go(self, seconds: int, rate: int) -> None:
        """Go on for so long with so many bytes per second in all, which is a burst every few seconds."""
        self.rate, tick = rate, 0.25
        for _ in range(int(seconds / tick)):
            self.clock.now += tick
            self.due += rate * tick
            self.ideal += rate * tick
            while self.due >= 8 * MIB:
                self.written, self.due = self.written + 8 * MIB, self.due - 8 * MIB
            self.progress.writing(0, Progress(self.written, self.size, Count()))

    def _told(self, reading: Reading) -> None:
        self.left.append((reading.stats.seconds_left, (self.size - self.ideal) / self.rate))

    def take(self) -> list[tuple[int | None, float]]:
        told, self.left = self.left, []
        return told


@pytest.mark.parametrize("rate", [MIB, 2 * MIB, 5 * MIB, 40 * MIB])
def test_under_a_throttle_the_time_left_is_right_and_steady(rate: int) -> None:
    """Bursts of 8 MiB: with 1 MiB per second only every eighth telling is told something new."""
    restoring = Restoring()
    restoring.go(70, rate)
    restoring.take()
    restoring.go(20, rate)
    told = restoring.take()
    assert len(told) == 20
    assert all(left is not None and abs(left - true) < 0.03 * true + 1 for left, true in told), told
    lefts = [left or 0 for left, _ in told]
    assert all(-0.03 * before - 2 < after - before < 0.02 * before for before, after in pairwise(lefts)), lefts


def test_a_changed_throttle_counts_within_a_minute() -> None:
    """What went before, as fast as may be, does not: an average over all time would be wrong for a long time."""
    restoring = Restoring()
    restoring.go(30, 40 * MIB)
    restoring.go(int(WINDOW) + 2, 4 * MIB)
    restoring.take()
    restoring.go(10, 4 * MIB)
    assert all(left is not None and abs(left - true) < 0.1 * true for left, true in restoring.take())


def test_nothing_for_a_minute_is_not_known() -> None:
    restoring = Restoring()
    restoring.go(30, 8 * MIB)
    restoring.go(int(WINDOW) + 2, 1)
    assert restoring.left[-1][0] is None


def test_work_of_an_earlier_life_is_no_speed() -> None:
    """Half of what there is to do is done when it is taken up: that took no time here."""
    restoring = Restoring()
    restoring.go(10, 8 * MIB)
    left, true = restoring.left[-1]
    assert left is not None
    assert abs(left - true) < 0.2 * true


def test_putting_back_counts_anew() -> None:
    restoring = Restoring()
    restoring.go(30, 40 * MIB)
    restoring.progress.putting_back([0])
    restoring.written = 0
    told: list[int | None] = []
    restoring.progress.told = lambda reading: told.append(reading.stats.seconds_left)
    for at in range(1, 21):
        restoring.clock.now += 1
        restoring.progress.put_back(0, Progress(at * 8 * MIB, restoring.size, Count()))
    assert told[-1] == (restoring.size - 160 * MIB) // (8 * MIB)


def test_disks_whose_turn_has_not_come_are_still_to_be_compared() -> None:
    """A few are worked on at once: when the first of five is compared, a fifth is done, not all."""
    clock, told = Clock(), list[Reading]()
    progress = RestoreProgress([100 * MIB] * 5, RestoreStats(), told.append, clock)
    clock.now += 2
    progress.comparing(0, Progress(100 * MIB, 100 * MIB, Count()))
    assert (told[-1].percent, told[-1].percents, told[-1].stats.seconds_left) == (20, [100, 0, 0, 0, 0], 8)


def test_reading_all_back_is_counted_from_the_start() -> None:
    """A disk that holds the backup already is half done when it is compared: it is read once more."""
    clock, told = Clock(), list[Reading]()
    progress = RestoreProgress([100 * MIB], RestoreStats(), told.append, clock, readback=True)
    clock.now += 2
    progress.comparing(0, Progress(100 * MIB, 100 * MIB, Count()))
    assert (told[-1].percent, told[-1].stats.seconds_left) == (50, 2)


def test_a_disk_that_an_earlier_life_has_compared_is_not_compared_again() -> None:
    clock, told = Clock(), list[Reading]()
    progress = RestoreProgress([100 * MIB] * 2, RestoreStats(), told.append, clock)
    for ordinal in range(2):
        progress.taken_up(ordinal)
    clock.now += 2
    progress.writing(0, Progress(100 * MIB, 100 * MIB, Count()))
    assert (told[-1].percent, told[-1].percents) == (75, [100, 50])


def test_only_what_was_written_to_is_put_back_and_what_was_kept_stays_known() -> None:
    clock, told = Clock(), list[Reading]()
    progress = RestoreProgress([100 * MIB] * 2, RestoreStats(), told.append, clock)
    for ordinal in range(2):
        progress.compared(ordinal, 40 * MIB, 0)
    progress.putting_back([1])
    for at in (50, 100):
        clock.now += 2
        progress.put_back(1, Progress(at * MIB, 100 * MIB, Count()))
    assert [(each.percent, each.percents, each.stats.seconds_left) for each in told] == [
        (50, [0, 50], 2), (99, [0, 100], 0)
    ]  # fmt: skip
    assert {each.stats.kept for each in told} == {120 * MIB}


def test_what_an_earlier_life_found_right_stays_known() -> None:
    clock, told = Clock(), list[Reading]()
    progress = RestoreProgress([100 * MIB], RestoreStats(kept=60 * MIB), told.append, clock)
    progress.taken_up(0)
    clock.now += 2
    progress.writing(0, Progress(50 * MIB, 100 * MIB, Count()))
    progress.putting_back([0])
    clock.now += 2
    progress.put_back(0, Progress(50 * MIB, 100 * MIB, Count()))
    assert [each.stats.kept for each in told] == [60 * MIB] * 2


def test_a_meter_tells_it_likewise() -> None:
    clock, told = Clock(), list[int | None]()
    meter = Meter([1000 * MIB], lambda reading: told.append(reading.seconds_left), clock=clock)
    done = 0
    for rate, seconds in ((50 * MIB, 10), (2 * MIB, int(WINDOW) + 5)):
        for _ in range(seconds):
            clock.now += 1
            done += rate
            meter.update(0, done)
    assert told[9] == 10
    assert told[-1] == (1000 * MIB - done) // (2 * MIB)


@pytest.mark.parametrize("now", [0.0, 5.0])
def test_before_anything_is_done_nobody_can_say(now: float) -> None:
    assert Speed(0.0).seconds_left(now, 0, 10) is None


def test_the_time_left_is_rounded_up_and_ends_at_nothing() -> None:
    speed = Speed(0.0)
    speed.note(1.0, 3)
    assert speed.seconds_left(1.0, 3, 10) == 3
    assert speed.seconds_left(1.0, 10, 10) == 0


def test_what_gets_slower_is_expected_to_stay_slower() -> None:
    """Ten bytes each second for ten seconds, then none for as long."""
    speed = Speed(0.0)
    for second in range(1, 11):
        speed.note(float(second), second * 10)
    assert speed.seconds_left(10.0, 100, 200) == 10
    assert speed.seconds_left(11.0, 100, 200) == 9
    assert speed.seconds_left(20.0, 100, 200) == 20
    assert speed.seconds_left(10.0 + WINDOW + 1, 100, 200) is None


def test_it_remembers_no_more_than_its_window() -> None:
    speed = Speed(0.0, window=10)
    for second in range(1, 1000):
        speed.note(float(second), second)
    assert len(speed._seen) <= 12
