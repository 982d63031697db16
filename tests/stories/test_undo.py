"""What a restore has overwritten comes back; what a plan says is what then happens; what is kept goes in time."""

import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from tests.house import PROJECT, House
from tests.stories.honesty import nothing_is_left

from restead.domain.backup import Backup
from restead.domain.errors import Code, Forbidden, InvalidRequest, Unavailable
from restead.domain.ids import VolumeId
from restead.domain.quota import QuotaLimits
from restead.domain.restore import Restore
from restead.domain.run import Told
from restead.domain.states import BackupState, RestoreState
from restead.records import restores
from restead.service import Rules
from restead.workflows import SafetyRetention

_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _safety(house: House, restore: Restore) -> Backup:
    return next(backup for backup in house.all_backups() if backup.safety_of == restore.id)


def test_an_undo_of_an_undo_of_an_undo_brings_back_every_byte(house: House) -> None:
    server = house.server()
    wanted = house.disks(server)
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    restore = house.restore(backup, power_on=True)
    for expected in (before, wanted, before):
        house.cloud.stop(PROJECT, server.id, grace=timedelta(0))
        earlier, restore = restore, house.undo(restore, power_on=True)
        assert (restore.state, restore.undo_of) == (RestoreState.SUCCESS, earlier.id)
        assert house.disks(server) == expected
    nothing_is_left(house)


def test_the_safety_checkpoint_is_an_ordinary_backup(house: House) -> None:
    """It is listed, restored by an ordinary restore, also after a restart, and deleted."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    restore = house.restore(backup)
    kept = _safety(house, restore)
    assert kept.name.startswith("prerestore_")
    assert len(kept.name) == len("prerestore_") + 4
    assert not kept.auto_trigger, "no schedule started it"
    assert (kept.checkpoint_id, kept.state) == (restore.safety_checkpoint_id, BackupState.AVAILABLE)
    assert [volume.volume_id for volume in kept.volumes] == [volume.id for volume in server.volumes]
    house.crash_and_restart()
    assert house.restore(kept).state is RestoreState.SUCCESS
    assert house.disks(server) == before
    house.service.checkpoints.delete(house.caller, PROJECT, kept.checkpoint_id, None)
    house.drain()
    assert kept.id not in [one.id for one in house.all_backups()]
    with pytest.raises(InvalidRequest) as refused:
        house.undo(restore)
    assert refused.value.code is Code.NOT_RESTORABLE


def test_a_restore_that_was_put_back_can_be_undone_and_one_without_safety_cannot(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)

    def fault(what: str) -> None:
        if what == "cloud: write":
            raise Unavailable("I/O error")

    house.power.fault = fault
    failed = house.restore(backup)
    house.power.fault = lambda what: None
    assert failed.state is RestoreState.FAIL
    assert house.undo(failed).state is RestoreState.SUCCESS
    assert house.disks(server) == before
    unsafe = house.restore(backup, safety=False)
    assert (unsafe.state, unsafe.safety_checkpoint_id) == (RestoreState.SUCCESS, None)
    with pytest.raises(InvalidRequest) as refused:
        house.undo(unsafe)
    assert refused.value.code is Code.NOT_RESTORABLE


def test_one_disk_alone_is_restored_and_undone(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    before = house.disks(server)
    request = house.request(backup)
    one = replace(request, mappings=request.mappings[1:], extensions=(("allow_partial", True),))
    restore = house.service.restores.create(house.caller, PROJECT, one)
    house.drain()
    assert house.disks(server) == [before[0], wanted[1]]
    assert house.undo(house.wait_for(restore.id)).state is RestoreState.SUCCESS
    assert house.disks(server) == before


def test_it_cannot_be_deleted_while_its_restore_is_under_way(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    refusals: list[Code] = []

    def fault(what: str) -> None:
        if what == "cloud: write":
            for kept in house.all_backups():
                if kept.safety_of is not None:
                    with pytest.raises(InvalidRequest) as refused:
                        house.service.checkpoints.delete(house.caller, PROJECT, kept.checkpoint_id, None)
                    refusals.append(refused.value.code)
                    SafetyRetention(house.records, house.engine.submit, timedelta(days=-1))(lambda: None)

    house.power.fault = fault
    restore = house.restore(backup)
    assert restore.state is RestoreState.SUCCESS
    assert set(refusals) == {Code.IN_PROGRESS}
    assert _safety(house, restore).state is BackupState.AVAILABLE


def test_what_was_kept_goes_when_its_time_is_over_and_nothing_else(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup)
    house.engine.do_chores()
    house.drain()
    assert _safety(house, restore).state is BackupState.AVAILABLE
    manifests = len(house.repository.manifests(PROJECT))
    SafetyRetention(house.records, house.engine.submit, timedelta(0))(lambda: None)
    house.drain()
    assert [one.id for one in house.all_backups()] == [backup.id]
    assert len(house.repository.manifests(PROJECT)) == manifests - len(server.volumes)
    assert house.restore(backup).state is RestoreState.SUCCESS


def test_it_counts_against_no_quota(tmp_path: Path) -> None:
    house = House(tmp_path, rules=Rules(quotas=QuotaLimits(backups=2)))
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    house.restore(backup)
    assert house.protect(server).state is BackupState.AVAILABLE
    house.close()


def test_an_operator_can_forbid_restores_that_keep_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, rules=Rules(restores_without_safety=False))
    backup = house.protect(house.server())
    with pytest.raises(InvalidRequest, match="safety"):
        house.restore(backup, safety=False)
    house.close()


@pytest.mark.parametrize("seed", range(8))
def test_what_a_plan_says_is_what_then_happens(house: House, seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.randrange(1, 30) * 4096 + chance.choice((0, 512, 100)) for _ in range(chance.choice((1, 2)))]
    server = house.server(sizes, seed=seed)
    backup = house.protect(server)
    if seed % 4:
        house.scribble(server, seed + 100)
    if seed % 3 == 0:  # something that the repository knows already
        house.protect(server)
    larger = chance.random() < 0.5
    onto = house.server([size + 8192 for size in sizes], name="other", seed=seed + 7) if larger else server
    before = house.dump()["disks"]
    plan = house.service.restores.plan(house.caller, PROJECT, house.request(backup, onto), compare=True)
    assert house.dump()["disks"] == before
    assert [volume.target_size for volume in plan.volumes] == [volume.size for volume in onto.volumes]
    restore = house.restore(backup, onto)
    assert restore.state is RestoreState.SUCCESS
    for number, name in (("kept", "kept"), ("written", "to_write"), ("zeroed", "to_zero"), ("saved", "to_save")):
        assert getattr(restore.stats, number) == sum(getattr(volume, name) for volume in plan.volumes), number
    for volume in plan.volumes:
        assert volume.kept is not None
        assert volume.to_write is not None
        assert volume.to_zero is not None
        assert volume.kept + volume.to_write + volume.to_zero == volume.target_size
        assert volume.to_write + volume.to_zero <= volume.to_write_at_most
    again = house.service.restores.plan(house.caller, PROJECT, house.request(backup, onto), compare=True)
    assert {(volume.to_write, volume.to_zero) for volume in again.volumes} == {(0, 0)}
    nothing_is_left(house)


def test_a_plan_for_a_running_server_says_what_it_can_and_changes_nothing(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.cloud.start(PROJECT, server.id)
    before = house.dump()
    plan = house.service.restores.plan(house.reader, PROJECT, house.request(backup, power_on=True), compare=True)
    assert plan.server_actions == ("stop", "start")
    assert [volume.kept for volume in plan.volumes] == [None, None]
    assert house.dump() == before
    request = house.request(backup)
    wrong = replace(request, mappings=(replace(request.mappings[0], volume_id=VolumeId("no")), *request.mappings[1:]))
    with pytest.raises(InvalidRequest) as refused:
        house.service.restores.plan(house.caller, PROJECT, wrong)
    assert refused.value.code is Code.VOLUME_NOT_ATTACHED


def test_a_reader_plans_and_follows_but_neither_cancels_nor_undoes_nor_throttles(house: House) -> None:
    backup = house.protect(house.server())
    restore = house.restore(backup)
    service = house.service.restores
    assert service.plan(house.reader, PROJECT, house.request(backup)).server_actions == ()
    assert [event.kind for event in service.events(house.reader, PROJECT, restore.id)][-1] is Told.END
    for ask in (
        lambda: service.cancel(house.reader, PROJECT, restore.id),
        lambda: service.undo(house.reader, PROJECT, restore.id, False),
        lambda: service.throttle(house.reader, PROJECT, restore.id, 1),
        lambda: service.throttle(house.caller, PROJECT, None, 1),  # of all projects: administrators only
    ):
        with pytest.raises(Forbidden):
            ask()
    with pytest.raises(InvalidRequest):
        service.throttle(house.caller, PROJECT, restore.id, 0)


def test_the_last_event_carries_the_numbers(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup)
    told = house.service.restores.events(house.caller, PROJECT, restore.id)
    stats = restore.stats
    numbers = {name: getattr(stats, name) for name in ("kept", "fetched", "written", "zeroed", "saved", "verified")}
    assert {**told[-1].numbers, **numbers} == told[-1].numbers
    assert told[-1].numbers["status"] == "success"
    assert told[-1].numbers["seconds"] >= 0  # type: ignore[operator]
    assert house.service.restores.events(house.caller, PROJECT, restore.id, after=told[-2].id) == (told[-1],)
    assert [event.id for event in told] == sorted({event.id for event in told})


def test_events_of_progress_come_at_most_once_a_second_and_never_fall(house: House) -> None:
    server = house.server((96 * 4096,))
    backup = house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup, wait=False)
    house.service.restores.throttle(house.caller, PROJECT, restore.id, 300 * 1024)
    house.drain()
    told = house.service.restores.events(house.caller, PROJECT, restore.id)
    percents = [event.numbers["percent"] for event in told if event.kind is Told.PROGRESS]
    times = [event.at for event in told if event.kind is Told.PROGRESS]
    assert percents
    assert percents == sorted(set(percents))  # type: ignore[type-var]
    assert all(later - earlier > timedelta(seconds=0.9) for earlier, later in pairwise(times))


def test_a_restore_of_an_older_release_that_was_under_way_is_told_anew(house: House) -> None:
    """Its rows have no phase but the first."""
    server = house.server()
    wanted = house.disks(server)
    backup = house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup, wait=False)
    with house.records.begin() as tx:
        restores.move_volume(tx, restore.id, 0, restores.Event.BEGIN)
    house.drain()
    assert (house.wait_for(restore.id).state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
