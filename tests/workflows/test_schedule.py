"""Schedules: each time once, whatever the clock, the service and its neighbours do.  The clock is a test's own."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.workflows.town import DAY, HOUR, MIDNIGHT, NIGHTLY, P, Town

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.policy import Keep, OperationChange, PolicyChange, Selection
from restead.domain.quota import QuotaLimits
from restead.domain.states import BackupState, OperationState
from restead.records import RunLimits, policies, runs
from restead.service.policies import PolicyRunRequest
from restead.workflows import Scheduler


@pytest.fixture
def town(database: str) -> Iterator[Town]:
    town = Town(database)
    yield town
    town.close()


def test_what_comes_due_is_begun_once_and_carries_what_the_contract_says(town: Town) -> None:
    server = town.server()
    policy = town.policy(server)
    town.look(MIDNIGHT + timedelta(hours=2, minutes=29, seconds=59))
    assert town.backups() == []
    for second in (0, 1, 10, 3000):
        town.look(MIDNIGHT + timedelta(hours=2, minutes=30, seconds=second))
    (backup,) = town.backups()
    assert backup.name.startswith("autobk_")
    assert (backup.auto_trigger, backup.policy_id) == (True, policy.id)
    assert backup.scheduled_at == MIDNIGHT + timedelta(hours=2, minutes=30)
    checkpoint = town.service.checkpoints.checkpoint(town.caller, P, backup.checkpoint_id)
    assert checkpoint.extra_info == '{"created_by": "operation-engine"}'
    assert (checkpoint.plan_id, checkpoint.plan_name) == (policy.id, "nightly")
    assert town.submitted == [backup.run_id]
    (entry,) = town.log(OperationState.WAITING)
    assert (entry.plan_id, entry.scheduled_operation_id) == (policy.id, policy.operation_id)
    town.every_minutes(60, MIDNIGHT + 3 * DAY)
    assert town.times() == ["02 02:30", "03 02:30", "04 02:30"]
    assert town.log() == []


def test_a_service_that_was_away_runs_once_for_all_it_missed_and_says_so(town: Town) -> None:
    town.policy(town.server())
    town.look(MIDNIGHT + 5 * DAY)
    assert town.times() == ["06 02:30"]
    (reason,) = town.reasons()
    assert reason == (
        "4 times passed while nothing could be run, the first at 2026-03-02 02:30:00 UTC; the one of "
        "2026-03-06 02:30:00 UTC stands for them"
    )
    town.look(MIDNIGHT + 5 * DAY + HOUR)
    town.finish()
    town.look(MIDNIGHT + 6 * DAY)
    assert town.times() == ["06 02:30", "07 02:30"]


def test_one_time_never_runs_twice_with_two_services_on_one_database(town: Town) -> None:
    """Both look at the same moment, again and again; what one begins the other leaves."""
    for number in range(4):
        town.policy(town.server(f"web-{number}"), name=f"p{number}")
    others = [Scheduler(town.records, town.cloud, town.submitted.append) for _ in range(3)]
    for day in range(3):
        town.now = MIDNIGHT + day * DAY + 3 * HOUR
        together = threading.Barrier(4)

        def look(scheduler: Scheduler, together: threading.Barrier = together) -> None:
            together.wait(120)
            scheduler(lambda: None)

        threads = [threading.Thread(target=look, args=(each,)) for each in (town.scheduler, *others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(town.times()) == 4 * (day + 1)
        town.finish()
    assert town.log() == []


def test_the_rows_alone_see_to_it(town: Town) -> None:
    """A service that works with an old look at the policy begins nothing: the time is dealt with."""
    policy = town.policy(town.server())
    town.look(MIDNIGHT + 3 * HOUR)
    town.finish()
    with town.records.begin() as tx:
        policies.consider(tx, policy.id, MIDNIGHT)
    town.look()
    assert town.times() == ["02 02:30"]


def test_a_clock_set_forward_runs_once_and_set_back_again_goes_on_as_if_nothing_was(town: Town) -> None:
    """A month ahead for a moment: one run of then; and the nights of this month come as they should."""
    town.policy(town.server())
    town.every_minutes(30, MIDNIGHT + 12 * HOUR)
    town.look(MIDNIGHT + 31 * DAY)
    town.finish()
    assert len(town.times()) == 2
    assert "stands for them" in town.reasons()[0]
    town.now = MIDNIGHT + 12 * HOUR
    town.every_minutes(30, MIDNIGHT + 3 * DAY)
    assert sorted(town.times()) == ["01 02:30", "02 02:30", "03 02:30", "04 02:30"]
    town.every_minutes(60, MIDNIGHT + 32 * DAY)
    assert len(town.times()) == len(set(zip(town.times(), [b.scheduled_at for b in town.backups()], strict=True)))
    assert len({backup.scheduled_at for backup in town.backups()}) == len(town.backups()), "none ran twice"


def test_a_clock_set_back_repeats_nothing(town: Town) -> None:
    town.policy(town.server())
    town.every_minutes(30, MIDNIGHT + 2 * DAY + 3 * HOUR)
    assert town.times() == ["02 02:30", "03 02:30", "04 02:30"]
    town.now = MIDNIGHT + HOUR
    town.every_minutes(10, MIDNIGHT + 3 * DAY + 3 * HOUR)
    assert town.times() == ["02 02:30", "03 02:30", "04 02:30", "05 02:30"]


def test_a_run_that_goes_on_is_not_met_by_another_and_the_log_says_which(town: Town) -> None:
    server = town.server()
    policy = town.policy(server)
    town.look(MIDNIGHT + 3 * HOUR)
    (going_on,) = town.backups()
    with pytest.raises(InvalidRequest, match=going_on.checkpoint_id) as refusal:
        town.service.policies.run(town.caller, P, PolicyRunRequest(policy.id))
    assert refusal.value.code.value == "CSBS.6030"
    town.look(MIDNIGHT + DAY + 3 * HOUR)
    assert town.times() == ["02 02:30"]
    (entry,) = town.log()
    assert entry.failure is not None
    assert entry.failure.code.value == "CSBS.6030"
    assert going_on.checkpoint_id in entry.failure.message
    assert (entry.plan_id, entry.scheduled_operation_id) == (policy.id, policy.operation_id)
    town.finish()
    manual = town.service.policies.run(town.caller, P, PolicyRunRequest(policy.id))
    town.look(MIDNIGHT + 2 * DAY + 3 * HOUR)
    assert town.times() == ["02 02:30"], "it waits for the next time"
    assert [each.failure.code.value for each in town.log() if each.failure] == ["CSBS.1001", "CSBS.6030"]
    assert manual.id in town.reasons()[0]
    town.finish()
    town.look(MIDNIGHT + 3 * DAY + 3 * HOUR)
    assert town.times() == ["02 02:30", "05 02:30"]


def test_a_manual_run_during_a_scheduled_one_is_told_which(town: Town) -> None:
    policy = town.policy(town.server())
    town.look(MIDNIGHT + 3 * HOUR)
    with pytest.raises(Exception, match="the scheduled run"):
        town.service.policies.run(town.caller, P, PolicyRunRequest(policy.id))


def test_what_is_switched_off_does_not_run_and_is_not_made_good_later(town: Town) -> None:
    policy = town.policy(town.server())
    off = PolicyChange(operation=OperationChange(enabled=False))
    town.service.policies.update(town.caller, P, policy.id, off)
    town.look(MIDNIGHT + 5 * DAY)
    on = PolicyChange(operation=OperationChange(enabled=True))
    town.service.policies.update(town.caller, P, policy.id, on)
    town.look()
    assert town.backups() == []
    town.look(MIDNIGHT + 6 * DAY)
    assert town.times() == ["07 02:30"]


def test_another_schedule_begins_when_it_is_set(town: Town) -> None:
    policy = town.policy(town.server())
    town.now = MIDNIGHT + 2 * HOUR
    pattern = "RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=0"
    changed = PolicyChange(operation=OperationChange(pattern=pattern))
    town.service.policies.update(town.caller, P, policy.id, changed)
    town.look(MIDNIGHT + 20 * HOUR)
    assert town.backups() == [], "neither 01:00, which was over, nor 02:30, which is none any more"
    town.look(MIDNIGHT + DAY + HOUR)
    assert town.times() == ["03 01:00"]


def test_starts_are_spread_and_each_stays_where_it_is(database: str) -> None:
    town = Town(database, jitter=timedelta(minutes=20))
    for number in range(12):
        town.policy(town.server(f"web-{number}"), name=f"p{number}")
    begun = {}
    for minute in range(25):
        town.look(MIDNIGHT + timedelta(hours=2, minutes=30 + minute))
        for backup in town.backups():
            begun.setdefault(backup.policy_id, minute)
    assert len(begun) == 12
    assert len(set(begun.values())) > 4, "not all at once"
    assert max(begun.values()) <= 20
    assert town.times() == ["02 02:30"] * 12, "it is that time's run all the same"
    town.close()


def test_no_start_is_put_off_until_its_window_has_ended(database: str) -> None:
    """The windows are the callers', and how far starts are spread the operator's: nobody may miss all for it."""
    town = Town(database, jitter=timedelta(minutes=30))
    for number in range(12):
        town.policy(town.server(f"web-{number}"), name=f"p{number}", keep=Keep(window_minutes=10))
    for minute in range(10):
        town.look(MIDNIGHT + timedelta(hours=2, minutes=30 + minute))
    begun = [backup.created_at - MIDNIGHT - timedelta(hours=2, minutes=30) for backup in town.backups()]
    assert (len(begun), town.reasons()) == (12, [])
    assert max(begun) <= timedelta(minutes=6), "half of the window is left, but for the pause between two looks"
    assert len(set(begun)) > 2, "not all at once"
    town.close()


def test_what_has_not_begun_when_its_window_ends_waits_for_the_next_time(town: Town) -> None:
    """One is being made, the other waits: it is in error, says why, and no worker takes it up."""
    one, other = town.server(), town.server("web-2")
    town.policy(one, other, keep=Keep(window_minutes=60))
    town.look(MIDNIGHT + timedelta(hours=2, minutes=30))
    with town.records.begin() as tx:
        claim = runs.claim(tx, "w", DAY)
    assert claim is not None
    town.now = MIDNIGHT + timedelta(hours=3, minutes=29)
    town.look()
    assert [backup.state for backup in town.backups()] == [BackupState.PROTECTING] * 2
    town.now = MIDNIGHT + timedelta(hours=3, minutes=30)
    with town.records.begin() as tx:
        assert runs.claim(tx, "w", DAY) is None, "also before anybody has looked"
    town.look()
    states = {backup.run_id: backup for backup in town.backups()}
    begun = states.pop(claim.run_id)
    (late,) = states.values()
    assert (begun.state, late.state) == (BackupState.PROTECTING, BackupState.ERROR)
    assert late.failure is not None
    assert "its window ended at 2026-03-02 03:30:00 UTC" in late.failure.message
    (entry,) = town.log()
    assert (entry.id, entry.failure) == (late.run_id, late.failure)
    town.finish()
    town.look(MIDNIGHT + DAY + timedelta(hours=2, minutes=30))
    assert town.times().count("03 02:30") == 2


def test_a_time_that_was_missed_until_its_window_had_ended_is_not_run(town: Town) -> None:
    town.policy(town.server(), keep=Keep(window_minutes=60))
    town.look(MIDNIGHT + 4 * HOUR)
    assert town.backups() == []
    (reason,) = town.reasons()
    assert reason.endswith("its window had ended at 2026-03-02 03:30:00 UTC")
    town.look(MIDNIGHT + DAY + 3 * HOUR)
    assert town.times() == ["03 02:30"]


def test_a_server_that_cannot_be_backed_up_does_not_hold_up_the_others(town: Town) -> None:
    good, gone = town.server(), town.server("web-2")
    town.policy(good, gone)
    town.cloud.remove(gone.id)
    town.look(MIDNIGHT + 3 * HOUR)
    assert {backup.state for backup in town.backups()} == {BackupState.PROTECTING, BackupState.ERROR}
    (entry,) = town.log()
    assert entry.server_id == gone.id
    assert entry.scheduled_operation_id is not None


def test_a_cloud_that_is_away_is_asked_again_until_it_answers(town: Town) -> None:
    town.policy(town.server())

    def away(operation: str) -> None:
        raise Unavailable("the cloud is away")

    town.cloud.before = away
    with capture_logs() as said:
        town.look(MIDNIGHT + 3 * HOUR)
        town.look(MIDNIGHT + 4 * HOUR)
        assert town.backups() == []
        town.cloud.before = lambda operation: None
        town.look(MIDNIGHT + 5 * HOUR)
        assert town.times() == ["02 02:30"]
        town.cloud.before = away
        town.look(MIDNIGHT + 29 * HOUR)
    levels = [each["log_level"] for each in said if each["event"] == "a policy cannot be run now"]
    assert levels == ["warning", "debug", "warning"], "once for each time that it is away"
    assert town.log() == []


def test_no_server_and_no_room_are_told_and_hold_up_nothing(database: str) -> None:
    town = Town(database, quotas=QuotaLimits(backups=1))
    town.policy(name="empty")
    town.look(MIDNIGHT + 3 * HOUR)
    town.policy(town.server())
    town.look(MIDNIGHT + DAY + 3 * HOUR)
    town.finish()
    town.look(MIDNIGHT + 2 * DAY + 3 * HOUR)
    assert town.times() == ["03 02:30"]
    codes = [each.failure.code.value for each in town.log() if each.failure]
    assert sorted(codes) == ["CSBS.6032", "CSBS.6032", "CSBS.6032", "CSBS.9006"]
    town.close()


def test_a_policy_of_the_whole_project_takes_new_servers(town: Town) -> None:
    wanted = PolicyChange(name="every", selection=Selection(every=True), operation=OperationChange(pattern=NIGHTLY))
    town.service.policies.create(town.caller, P, wanted)
    town.server("web-1")
    town.look(MIDNIGHT + 3 * HOUR)
    town.finish()
    town.server("web-2")
    town.look(MIDNIGHT + DAY + 3 * HOUR)
    assert town.times() == ["02 02:30", "03 02:30", "03 02:30"]


def test_schedules_survive_a_restart(database: str) -> None:
    town = Town(database)
    town.policy(town.server())
    town.look(MIDNIGHT + 3 * HOUR)
    town.finish()
    town.records.close()
    again = Town(database)
    again.scheduler = Scheduler(again.records, town.cloud, again.submitted.append)
    again.look(MIDNIGHT + 3 * HOUR)
    again.look(MIDNIGHT + DAY + 3 * HOUR)
    assert again.times() == ["02 02:30", "03 02:30"]
    again.close()


@pytest.mark.parametrize(("limits", "together"), [(RunLimits(), 4), (RunLimits(host=1), 2), (RunLimits(driver=3), 3)])
def test_runs_at_once_are_limited_for_each_driver_and_host(town: Town, limits: RunLimits, together: int) -> None:
    for number in range(4):
        server = town.server(f"web-{number}")
        town.cloud.put(replace(server, host=f"host-{number % 2}"))
        town.policy(server, name=f"p{number}")
    town.look(MIDNIGHT + 3 * HOUR)
    claims = []
    with town.records.begin() as tx:
        while (claim := runs.claim(tx, "w", DAY, limits)) is not None:
            claims.append(claim)
    assert len(claims) == together
    with town.records.begin() as tx:
        runs.finish(tx, claims[0])
        assert (runs.claim(tx, "w", DAY, limits) is not None) == (together < 4), "one ended, the next begins"
