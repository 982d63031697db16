"""Restores that meet trouble: what is said of each disk, of the server, and of the backup."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.house import PROJECT, House
from tests.workflows.test_backup import _failing

from restead.domain.errors import Code, Unavailable
from restead.domain.restore import RestoreStats
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestoreState, VolumeOutcome

_O = VolumeOutcome


def test_a_restore_puts_back_every_byte_and_says_what_it_did(house: House) -> None:
    server = house.server()
    wanted = house.disks(server)
    backup = house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.SUCCESS
    assert house.disks(server) == wanted
    assert house.cloud.log == [f"start {server.id}"]
    assert (restore.progress, restore.failure, restore.server_reason) == (100, None, "")
    assert [(v.outcome, v.progress, v.ranges) for v in restore.volumes] == [(_O.RESTORED, 100, ())] * 2
    stats: RestoreStats = restore.stats
    assert stats.total == stats.verified == sum(len(disk) for disk in wanted)
    assert stats.written + stats.zeroed + stats.kept == stats.total
    assert (stats.seconds_left, restore.finished_at is not None) == (None, True)
    assert house.backup(backup.id).state is BackupState.AVAILABLE
    assert house.story(restore.run_id) == [
        "accepted", "stopping", "writing", "proving", "writing", "proving", "starting", "end",
    ]  # fmt: skip


@pytest.mark.parametrize("power_on", [True, False])
@pytest.mark.parametrize("was_running", [True, False])
def test_afterwards_the_server_runs_if_that_was_asked(house: House, power_on: bool, was_running: bool) -> None:
    """Whatever it did before."""
    server = house.server()
    backup = house.protect(server)
    if was_running:
        house.cloud.start(PROJECT, server.id)
    house.restore(backup, power_on=power_on)
    expected = ServerStatus.RUNNING if power_on else ServerStatus.STOPPED
    assert house.cloud.server(PROJECT, server.id).status is expected


def test_a_larger_disk_keeps_its_size_and_is_cleared_behind_the_end(house: House) -> None:
    server = house.server((10000,))
    backup = house.protect(server)
    wanted = house.disks(server)[0]
    other = house.server((20000,), name="larger", seed=7)
    restore = house.restore(backup, other)
    assert restore.state is RestoreState.SUCCESS
    assert house.disks(other) == [wanted + bytes(10000)]


def test_a_disk_that_shows_only_zeroes_is_restored_too(house: House) -> None:
    """Nothing needs writing: still it is proven, and restored."""
    server = house.cloud.add(PROJECT, [8192], "empty")
    restore = house.restore(house.protect(server))
    assert [volume.outcome for volume in restore.volumes] == [_O.RESTORED]


def test_a_failed_write_stops_the_others_and_the_server_stays_stopped(house: House) -> None:
    """The first disk is damaged, all of it doubtful; the second is untouched; the backup is good."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    house.cloud.start(PROJECT, server.id)
    _failing(house, "cloud: write", 1, Unavailable("disk a: write of 4096 bytes at 8192: I/O error"))
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert [volume.outcome for volume in restore.volumes] == [_O.DAMAGED, _O.UNTOUCHED]
    assert [volume.ranges for volume in restore.volumes] == [((0, server.volumes[0].size),), ()]
    assert "I/O error" in restore.volumes[0].reason
    assert server.volumes[0].id in restore.volumes[1].reason
    assert house.disks(server)[1] == before[1]
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.STOPPED
    assert "stays stopped" in restore.server_reason
    after = house.backup(backup.id)
    assert (after.state, after.failed_operation, after.failure) == (BackupState.AVAILABLE, "restore", restore.failure)
    house.power.fault = lambda what: None
    assert house.restore(backup).state is RestoreState.SUCCESS
    assert (house.backup(backup.id).failed_operation, house.backup(backup.id).failure) == ("", None)


def test_a_failed_flush_is_not_repeated_and_believed(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    failed = _failing(house, "cloud: flush", 1)
    restore = house.restore(backup)
    assert restore.state is RestoreState.FAIL
    assert restore.volumes[0].ranges == ((0, server.volumes[0].size),)
    assert failed == ["cloud: flush"]


def test_a_failure_of_the_second_disk_leaves_the_first_restored(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    opened: list[str] = []

    def fault(happening: str) -> None:
        if happening == "cloud: open_target":
            opened.append(happening)
            if len(opened) > 1:
                raise Unavailable("disk b is in use")

    house.power.fault = fault
    restore = house.restore(backup)
    assert [volume.outcome for volume in restore.volumes] == [_O.RESTORED, _O.UNTOUCHED]
    assert restore.volumes[1].reason == "disk b is in use"
    assert len(opened) == 1 + 3  # tried again, for nobody has written to it
    assert house.disks(server)[0] == wanted[0]
    assert restore.failure is not None
    assert restore.failure.code is Code.UNAVAILABLE


@pytest.mark.parametrize("what", ["get packs", "cloud: open_target", "cloud: stop", "cloud: start", "put log"])
def test_what_is_unavailable_for_a_while_delays_a_restore(house: House, what: str) -> None:
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    restore = house.restore(backup, power_on=True, wait=False)
    failed = _failing(house, what, 1)
    house.drain()
    assert failed != []
    assert house.wait_for(restore.id).state is RestoreState.SUCCESS
    assert house.disks(server) == wanted
    assert house.cloud.log == [f"start {server.id}"]


def test_a_server_that_would_not_stop_keeps_its_disks(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    house.cloud.start(PROJECT, server.id)
    _failing(house, "cloud: stop", 10**6, Unavailable("it would not stop"))
    restore = house.restore(backup, power_on=True)
    assert [volume.outcome for volume in restore.volumes] == [_O.UNTOUCHED] * 2
    assert {volume.reason for volume in restore.volumes} == {"it would not stop"}
    assert house.disks(server) == before
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.RUNNING


def test_a_server_that_would_not_start_has_its_disks_nevertheless(house: House) -> None:
    """CSBS 9.2: the disks are available, the server in error, the restore failed."""
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    _failing(house, "cloud: start", 10**6, Unavailable("no memory left on its host"))
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert [volume.outcome for volume in restore.volumes] == [_O.RESTORED] * 2
    assert restore.server_reason == "no memory left on its host"
    assert restore.failure is not None
    assert restore.failure.message == restore.server_reason
    assert house.disks(server) == wanted
    assert house.backup(backup.id).state is BackupState.AVAILABLE


def _smaller(house: House, server: Server) -> None:
    first = server.volumes[0]
    house.cloud.put(replace(server, volumes=(replace(first, size=first.size - 1), *server.volumes[1:])))


def _taken_off(house: House, server: Server) -> None:
    house.cloud.put(replace(server, volumes=server.volumes[1:]))


def _gone(house: House, server: Server) -> None:
    house.cloud.remove(server.id)


@pytest.mark.parametrize(
    ("harm", "code"),
    [(_smaller, Code.TARGET_TOO_SMALL), (_taken_off, Code.VOLUME_NOT_ATTACHED), (_gone, Code.SERVER_NOT_FOUND)],
)
def test_a_target_that_changed_after_the_promise_is_not_touched(
    house: House, harm: Callable[[House, Server], None], code: Code
) -> None:
    server = house.server()
    backup = house.protect(server)
    restore = house.restore(backup, wait=False)
    harm(house, server)
    before = house.disks(server)
    house.drain()
    restore = house.wait_for(restore.id)
    assert restore.state is RestoreState.FAIL
    assert restore.failure is not None
    assert restore.failure.code is code
    assert {volume.outcome for volume in restore.volumes} == {_O.UNTOUCHED}
    assert house.disks(server) == before


def test_a_bug_in_the_middle_of_a_disk_ends_the_restore_with_the_disk_doubtful(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    _failing(house, "cloud: flush", 1, KeyError("a bug"))
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert [volume.outcome for volume in restore.volumes] == [_O.DAMAGED, _O.UNTOUCHED]
    assert restore.volumes[0].ranges == ((0, server.volumes[0].size),)
    assert restore.failure is not None
    assert restore.run_id in restore.failure.message
    assert house.cloud.log == []
    assert house.backup(backup.id).state is BackupState.AVAILABLE


def test_an_interrupted_restore_writes_all_disks_anew(house: House) -> None:
    """Somebody else may have written to a disk between the two lives."""
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    restore = house.restore(backup, power_on=True, wait=False)

    def fault(happening: str) -> None:
        if happening == "cloud: flush":  # the first disk is done, the second is not
            house.engine.stop(timedelta(0))

    house.power.fault = fault
    house.drain()
    assert house.service.restores.restore(house.caller, PROJECT, restore.id).state is RestoreState.IN_PROGRESS
    house.close()
    house.scribble(server, 3)
    house.cloud.start(PROJECT, server.id)  # somebody was impatient
    house.open()
    house.drain()
    assert house.wait_for(restore.id).state is RestoreState.SUCCESS
    assert house.disks(server) == wanted
    assert house.cloud.log == [f"{verb} {server.id}" for verb in ("start", "stop", "start")]
    assert "resumed" in house.story(restore.run_id)
