"""Retention at work: after every scheduled backup and once a day, by ordinary deletions."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from tests.house import PROJECT, House
from tests.workflows.town import DAY, HOUR, MIDNIGHT, NIGHTLY, P, Town

from restead.domain.backup import Failure
from restead.domain.errors import Code, Damaged, InvalidRequest
from restead.domain.listing import Window
from restead.domain.operation import OperationFilter
from restead.domain.policy import Keep, OperationChange, PolicyChange
from restead.domain.run import RunKind
from restead.domain.states import BackupState, OperationState, RestoreState
from restead.records import operations, policies
from restead.records.tables import backups as rows
from restead.service.policies import PolicyRunRequest
from restead.workflows import LogRetention, PolicyRetention


@pytest.fixture
def town(database: str) -> Iterator[Town]:
    town = Town(database)
    yield town
    town.close()


def _nights(town: Town, count: int, failure: Failure | None = None) -> None:
    """Let so many nights pass, each with its backup and a look at what is kept."""
    for _ in range(count):
        town.look(town.now + DAY)
        town.finish(failure)
        town.retention(lambda: None)


def _states(town: Town) -> list[str]:
    return [f"{each.scheduled_at:%d} {each.state}" for each in town.backups() if each.scheduled_at]


def test_after_every_scheduled_backup_what_no_rule_keeps_goes(town: Town) -> None:
    policy = town.policy(town.server(), keep=Keep(max_backups=2))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    _nights(town, 3)
    assert _states(town) == ["02 deleting", "03 available", "04 available"]
    _nights(town, 1)
    assert _states(town) == ["02 deleting", "03 deleting", "04 available", "05 available"]
    assert len(town.submitted) == 6
    told = town.service.operations.list(town.caller, P, OperationFilter(kind="delete"), Window()).items
    assert {each.plan_id for each in told} == {policy.id}


def test_once_a_day_it_is_looked_although_nothing_was_made(town: Town) -> None:
    """And also after a look that a clock had dated later than now."""
    policy = town.policy(town.server(), keep=Keep(retention_duration_days=2))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    _nights(town, 2)
    off = PolicyChange(operation=OperationChange(enabled=False))
    town.service.policies.update(town.caller, P, policy.id, off)
    with town.records.begin() as tx:
        assert policies.to_retain(tx, town.now - DAY) == []
    town.now += DAY - HOUR
    town.retention(lambda: None)
    assert "deleting" not in " ".join(_states(town))
    town.now += 2 * HOUR
    town.retention(lambda: None)
    assert _states(town) == ["02 deleting", "03 available"]
    town.now -= 3 * DAY
    with town.records.begin() as tx:
        assert [each.id for each in policies.to_retain(tx, town.now - DAY)] == [policy.id], "the clock was set back"
        policies.retained(tx, policy.id)
        assert policies.to_retain(tx, town.now - DAY) == [], "what is dated ahead is not new at each look"


def test_a_hold_and_a_failure_keep_what_the_rules_would_not(town: Town) -> None:
    town.policy(town.server(), keep=Keep(max_backups=1))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    _nights(town, 1)
    (first,) = town.backups()
    town.service.backups.hold(town.caller, P, first.id, town.now + 10 * DAY)
    _nights(town, 2)
    assert _states(town) == ["02 available", "03 deleting", "04 available"]
    _nights(town, 1, Failure(Code.UNAVAILABLE, "no answer"))
    _nights(town, 1)
    assert _states(town) == ["02 available", "03 deleting", "04 deleting", "05 error", "06 available"]
    with pytest.raises(InvalidRequest, match="held until"):
        town.service.checkpoints.delete(town.caller, P, first.checkpoint_id, None)


def test_what_somebody_asked_for_and_what_another_policy_made_never_goes(town: Town) -> None:
    policy = town.policy(town.server(), keep=Keep(max_backups=1))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    town.service.policies.run(town.caller, P, PolicyRunRequest(policy.id))
    town.finish()
    _nights(town, 3)
    assert sum(each.scheduled_at is None and each.state is BackupState.AVAILABLE for each in town.backups()) == 1
    town.service.policies.delete(town.caller, P, policy.id)
    before = _states(town)
    town.now += 400 * DAY
    town.retention(lambda: None)
    assert _states(town) == before, "nothing removes what a deleted policy has made"


def test_a_policy_that_cannot_be_told_stands_in_no_other_ones_way(town: Town) -> None:
    for name in ("a", "b", "c"):
        town.policy(town.server(name), name=name, keep=Keep(max_backups=1))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    _nights(town, 1)
    town.look(town.now + DAY)
    town.finish()
    torn = min(town.backups(), key=lambda backup: str(backup.policy_id))  # of the policy that is looked at first
    with town.records.begin() as tx:
        tx.connection.execute(sa.update(rows).where(rows.c.id == torn.id).values(server={"no": "server"}))
    with pytest.raises(Damaged):
        town.retention(lambda: None)
    with town.records.read() as tx:
        states = tx.connection.execute(sa.select(rows.c.policy_id, rows.c.state)).all()
    going = {policy for policy, state in states if state == BackupState.DELETING}
    assert len(going) == 2
    assert torn.policy_id not in going


def test_the_preview_says_what_the_next_run_does(town: Town) -> None:
    """And then that happens, neither more nor less; asked again and again it changes nothing."""
    policy = town.policy(town.server(), town.server("web-2"), keep=Keep(max_backups=2))
    town.now = MIDNIGHT + 3 * HOUR - DAY
    _nights(town, 2)
    previews = [town.service.policies.preview(town.caller, P, policy.id) for _ in range(2)]
    assert previews[0] == previews[1]
    preview = previews[0]
    assert preview.after_a_run
    assert preview.at == MIDNIGHT + 2 * DAY + timedelta(hours=2, minutes=30)
    going = {backup.id for backup, verdict in preview.verdicts if verdict.removed}
    assert len(preview.verdicts) == 4
    assert len(going) == 2
    staying = {verdict.reasons for _, verdict in preview.verdicts if not verdict.removed}
    assert staying == {("one of the newest 2",)}
    _nights(town, 1)
    assert {each.id for each in town.backups() if each.state is BackupState.DELETING} == going
    off = PolicyChange(operation=OperationChange(enabled=False))
    town.service.policies.update(town.caller, P, policy.id, off)
    preview = town.service.policies.preview(town.caller, P, policy.id)
    assert (preview.after_a_run, preview.at) == (False, town.now)
    assert not any(verdict.removed for _, verdict in preview.verdicts)


def test_old_entries_of_the_log_go_and_open_ones_stay(town: Town) -> None:
    town.policy(name="empty")
    server = town.server()
    town.policy(server)
    town.look(MIDNIGHT + 3 * HOUR)
    retention = LogRetention(town.records, timedelta(days=90))
    town.now += timedelta(days=89)
    retention(lambda: None)
    assert len(town.log()) == 1
    town.now += 2 * DAY
    retention(lambda: None)
    assert town.log() == []
    (waiting,) = town.log(OperationState.WAITING)
    with town.records.begin() as tx:
        operations.skipped(tx, waiting.id, Failure(Code.UNAVAILABLE, "its window ended"))
    retention(lambda: None)
    assert [each.id for each in town.log()] == [waiting.id], "its days begin when it ends"


def test_it_really_goes_and_the_others_can_be_restored(house: House) -> None:
    """Over the real repository: of four nights two are left, bit for bit; the rest is out of the log of the store."""
    server = house.server()
    wanted = PolicyChange(name="nightly", operation=OperationChange(pattern=NIGHTLY, keep=Keep(max_backups=2)))
    policy = house.service.policies.create(house.caller, PROJECT, wanted)
    disks, made = [], []
    for night in range(4):
        house.scribble(server, night)
        disks.append(house.disks(server))
        backup = house.protect(server)
        made.append(backup)
        with house.records.begin() as tx:
            assert backup.protected_at is not None
            then = backup.protected_at - (4 - night) * DAY
            values = {"policy_id": policy.id, "scheduled_at": then, "protected_at": then}
            tx.connection.execute(sa.update(rows).where(rows.c.id == backup.id).values(**values))
    PolicyRetention(house.records, house.engine.submit)(lambda: None)
    house.drain()
    assert {each.id for each in house.all_backups()} == {made[2].id, made[3].id}
    assert len(house.repository.manifests(PROJECT)) == 2 * len(server.volumes)
    for night in (2, 3):
        assert house.restore(house.backup(made[night].id), safety=False).state is RestoreState.SUCCESS
        assert house.disks(server) == disks[night]
    log = house.service.operations.list(house.caller, PROJECT, OperationFilter(kind=RunKind.DELETE), Window())
    assert [each.state for each in log.items] == [OperationState.SUCCESS] * 2

