"""Who would be missed: told before it is too late, and not told without need."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.workflows.town import DAY, HOUR, MIDNIGHT, NIGHTLY, P, Town

from restead.domain.backup import BackupRequest, Failure
from restead.domain.errors import Code
from restead.domain.policy import OperationChange, PolicyChange, Selection


@pytest.fixture
def town(database: str) -> Iterator[Town]:
    town = Town(database)
    town.now = MIDNIGHT + 3 * HOUR - DAY
    yield town
    town.close()


def _told(town: Town) -> dict[str, str]:
    return {each.server.name: each.reason for each in town.service.reports.unprotected(town.caller, P)}


def _night(town: Town, failure: Failure | None = None) -> None:
    town.look(town.now + DAY)
    town.finish(failure)


def test_a_server_without_a_policy_is_told_until_it_has_one(town: Town) -> None:
    server = town.server()
    assert _told(town) == {"web-1": "no policy backs it up"}
    policy = town.policy(server)
    assert _told(town) == {"web-1": "it has no good backup"}
    _night(town)
    assert _told(town) == {}
    off = PolicyChange(operation=OperationChange(enabled=False))
    town.service.policies.update(town.caller, P, policy.id, off)
    assert _told(town) == {"web-1": "the schedule of its policy nightly is switched off"}


def test_a_failed_night_is_told_and_a_good_one_makes_it_good(town: Town) -> None:
    town.policy(town.server())
    _night(town)
    _night(town, Failure(Code.UNAVAILABLE, "no answer"))
    assert _told(town) == {
        "web-1": "its newest good backup is older than 2026-03-03 02:30:00 UTC, when policy nightly was due"
    }
    (found,) = town.service.reports.unprotected(town.caller, P)
    assert found.last_good == MIDNIGHT + 3 * HOUR
    _night(town)
    assert _told(town) == {}


def test_a_backup_that_somebody_asked_for_counts(town: Town) -> None:
    server = town.server()
    town.policy(server)
    _night(town)
    _night(town, Failure(Code.UNAVAILABLE, "no answer"))
    town.service.checkpoints.protect(town.caller, P, BackupRequest(server.id))
    town.finish()
    assert _told(town) == {}


def test_while_a_night_is_being_made_the_one_before_counts(town: Town) -> None:
    town.policy(town.server())
    _night(town)
    town.now = MIDNIGHT + DAY + timedelta(hours=2, minutes=30, seconds=30)
    assert _told(town) == {}, "it came due this minute"
    town.look(MIDNIGHT + DAY + 3 * HOUR)
    assert _told(town) == {}
    town.finish(Failure(Code.UNAVAILABLE, "no answer"))
    assert list(_told(town)) == ["web-1"]


def test_no_service_ran_and_it_is_told(town: Town) -> None:
    town.policy(town.server())
    _night(town)
    town.now += 3 * DAY
    assert "2026-03-05 02:30:00 UTC" in _told(town)["web-1"]


def test_a_rare_schedule_is_not_late_between_its_times(town: Town) -> None:
    """Every 30 days: on the 29th nothing is wrong."""
    town.policy(town.server(), pattern="RRULE:FREQ=DAILY;INTERVAL=30;BYHOUR=4;BYMINUTE=0")
    _night(town)
    town.look(MIDNIGHT + 30 * DAY)
    town.finish()
    assert _told(town) == {}
    town.now += 28 * DAY
    assert _told(town) == {}
    town.now += 3 * DAY
    assert list(_told(town)) == ["web-1"]


def test_selected_servers_are_their_policys_and_one_that_is_on_counts(town: Town) -> None:
    def every(name: str, enabled: bool) -> PolicyChange:
        operation = OperationChange(pattern=NIGHTLY, enabled=enabled)
        return PolicyChange(name=name, selection=Selection(every=True), operation=operation)

    town.server()
    town.service.policies.create(town.caller, P, every("off", False))
    assert _told(town) == {"web-1": "the schedule of its policy off is switched off"}
    town.service.policies.create(town.caller, P, every("on", True))
    _night(town)
    assert _told(town) == {}
    town.server("web-2")
    assert _told(town) == {"web-2": "it has no good backup"}
