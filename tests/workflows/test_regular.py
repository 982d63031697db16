"""What goes wrong again and again is said once, tried again soon, and said to be well again."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import structlog
from structlog.testing import LogCapture
from tests.fakes.power import Power
from tests.workflows.test_durable import Place

from restead.domain.errors import Damaged, Unavailable
from restead.records import RecordsUnavailable
from restead.workflows.regular import Regular

_HOUR = timedelta(hours=1)


@pytest.fixture
def log() -> Iterator[LogCapture]:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.reset_defaults()


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    place = Place(database)
    yield place
    place.engine.stop(timedelta(seconds=5))
    place.records.close()


def _away(what: str) -> None:
    raise RecordsUnavailable("the records cannot be read or written now")


def _read_only(what: str) -> None:
    if what == "records: commit":
        _away(what)


@pytest.mark.parametrize("fault", [_away, _read_only])
def test_records_that_are_away_are_told_of_once_and_when_they_are_back(
    place: Place, log: LogCapture, fault: Callable[[str], None]
) -> None:
    """Not by each worker and each chore at each try; also where only writing fails, and nothing is to be written."""
    power, tries = Power(), [0]
    power.feed(place.records.engine)

    def count(what: str) -> None:
        tries[0] += 1
        fault(what)

    def writes(check: Callable[[], None]) -> None:
        with place.records.begin():
            pass

    place.engine.do_regularly(writes, timedelta(seconds=0.01))
    place.engine.start()
    for outage in (1, 2):
        power.fault, tries[0] = count, 0
        _until(lambda: _knock(place) and tries[0] > 30)
        power.fault = lambda what: None
        _until(lambda: _knock(place) and len(_said(log)) >= 2 * outage)  # noqa: B023  it is called at once
    assert _said(log) == ["the records are away", "the records are back"] * 2
    assert {line["log_level"] for line in log.entries if line["event"] == "the records are away"} == {"error", "debug"}


def _said(log: LogCapture) -> list[str]:
    return [line["event"] for line in list(log.entries) if line["log_level"] != "debug"]


def _knock(place: Place) -> bool:
    place.engine.submit("nothing")  # type: ignore[arg-type]
    return True


def _until(look: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not look():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_chore_that_fails_is_told_of_once_and_when_it_goes_well_again(place: Place, log: LogCapture) -> None:
    """By its name in what an operator is warned of, too, as long as it fails."""
    away = [True]

    def chore(check: Callable[[], None]) -> None:
        if away[0]:
            raise Unavailable(f"the store is away, try {len(log.entries)}")

    place.engine.do_regularly(chore, _HOUR, "verifying the repository")
    assert place.engine.warnings() == []
    for _ in range(3):
        place.engine.do_chores()
    (warning,) = place.engine.warnings()
    assert "verifying the repository fails since " in warning
    assert warning.endswith("the store is away, try 2")
    away[0] = False
    place.engine.do_chores()
    place.engine.do_chores()
    loud = [(line["log_level"], line["event"], line["chore"]) for line in log.entries if line["log_level"] != "debug"]
    assert loud == [("warning", "a chore is left for later", "verifying the repository"),
                    ("info", "a chore is done again", "verifying the repository")]  # fmt: skip
    assert place.engine.warnings() == []


def test_what_may_pass_is_tried_again_soon_and_ever_more_slowly(log: LogCapture) -> None:
    """Never less often than it would be done anyway; what does not pass by itself waits for its time."""
    regular = Regular(lambda check: None, _HOUR)
    away = Unavailable("the store is away")
    assert [regular.failed(away).total_seconds() for _ in range(11)] == [
        10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600
    ]  # fmt: skip
    assert regular.failed(Damaged("not what was stored")) == _HOUR
    assert regular.went_well() == _HOUR
    assert regular.failed(away).total_seconds() == 10
    often = Regular(lambda check: None, timedelta(seconds=2))
    assert {often.failed(away).total_seconds() for _ in range(50)} == {2}
