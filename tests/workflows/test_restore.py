"""Restores that meet trouble: what is said of each disk, of the server, and of the backup."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.workflows.test_backup import _failing

from restead.domain.backup import Backup
from restead.domain.errors import Code, Damaged, InvalidRequest, Unavailable
from restead.domain.ids import RestoreId
from restead.domain.listing import RestoreFilter, Window
from restead.domain.restore import Restore, RestoreStats
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestorePhase, RestoreState, VolumeOutcome
from restead.records import RecordsUnavailable

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
        "accepted", "stopping", "comparing", "writing", "proving", "starting", "end",
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
    stats = restore.stats
    assert stats.total == 20000 == stats.kept + stats.written + stats.zeroed
    assert stats.verified == 10000


def test_a_disk_that_shows_only_zeroes_is_restored_too(house: House) -> None:
    """Nothing needs writing: still it is proven, and restored."""
    server = house.cloud.add(PROJECT, [8192], "empty")
    restore = house.restore(house.protect(server))
    assert [volume.outcome for volume in restore.volumes] == [_O.RESTORED]


def test_a_failed_write_puts_all_disks_back_and_the_server_runs_as_before(house: House) -> None:
    """The reasons say where it began; the backup is good; nothing is lost for a second try."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    house.cloud.start(PROJECT, server.id)
    _failing(house, "cloud: write", 1, Unavailable("disk a: write of 4096 bytes at 8192: I/O error"))
    restore = house.restore(backup, power_on=False)
    assert restore.state is RestoreState.FAIL
    assert restore.failure is not None
    assert "I/O error" in restore.failure.message
    assert {volume.outcome for volume in restore.volumes} <= {_O.PUT_BACK, _O.UNTOUCHED}
    assert [volume.ranges for volume in restore.volumes] == [(), ()]
    assert "I/O error" in " ".join(volume.reason for volume in restore.volumes)
    assert house.disks(server) == before
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.RUNNING
    assert restore.server_reason == ""
    assert "putting_back" in house.story(restore.run_id)
    after = house.backup(backup.id)
    assert (after.state, after.failed_operation, after.failure) == (BackupState.AVAILABLE, "restore", restore.failure)
    house.power.fault = lambda what: None
    assert house.restore(backup).state is RestoreState.SUCCESS
    assert (house.backup(backup.id).failed_operation, house.backup(backup.id).failure) == ("", None)


def test_a_disk_that_cannot_be_put_back_keeps_the_server_stopped_and_is_named_by_ranges(house: House) -> None:
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    house.cloud.start(PROJECT, server.id)
    _failing(house, "cloud: flush", 10**6, Unavailable("the disk is dying"))
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert [(volume.outcome, volume.ranges) for volume in restore.volumes] == [(_O.DAMAGED, ((0, 64 * 1024),))]
    assert "could not be put back" in restore.volumes[0].reason
    assert "stays stopped" in restore.server_reason
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.STOPPED
    house.power.fault = lambda what: None
    undone = house.undo(restore)
    assert (undone.state, house.disks(server)) == (RestoreState.SUCCESS, before)


def test_without_safety_a_failed_disk_is_damaged_and_the_server_stays_stopped(house: House) -> None:
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    _failing(house, "cloud: write", 3, Unavailable("I/O error"))
    restore = house.restore(backup, power_on=True, safety=False)
    assert restore.state is RestoreState.FAIL
    assert [(volume.outcome, volume.ranges) for volume in restore.volumes] == [(_O.DAMAGED, ((0, 64 * 1024),))]
    assert (restore.safety_checkpoint_id, house.cloud.log) == (None, [])
    assert "stays stopped" in restore.server_reason
    house.power.fault = lambda what: None
    assert house.restore(backup, power_on=True, safety=False).state is RestoreState.SUCCESS


def test_without_safety_a_server_is_not_started_on_disks_of_two_times(tmp_path: Path) -> None:
    """One disk holds the backup, the other failed before its first write: each is good, together they are not."""
    house = House(tmp_path, chunk_size=64 * 1024)  # of one chunk each, so a disk is written by one thread
    server = house.server((64 * 1024, 64 * 1024))
    backup = house.protect(server)
    house.scribble(server, seed=2)
    house.cloud.start(PROJECT, server.id)
    promised = house.restore(backup, safety=False, wait=False)
    readers: list[int] = []

    def found() -> Restore:
        return house.service.restores.restore(house.caller, PROJECT, promised.id)

    def fault(what: str) -> None:
        if what == "cloud: read" and found().phase is RestorePhase.WRITING:
            readers.append(threading.get_ident())
            if len(set(readers)) == 2 and readers[0] != threading.get_ident():
                house.wait(lambda: any(volume.mark == volume.target_size for volume in found().volumes))
                raise Damaged("a fault", ranges=[(0, 512)])

    house.power.fault = fault
    house.drain()
    restore = found()
    assert restore.state is RestoreState.FAIL
    assert {volume.outcome for volume in restore.volumes} == {_O.RESTORED, _O.UNTOUCHED}
    assert "on 1 of 2 disks" in restore.server_reason
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.STOPPED
    house.close()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_failed_flush_is_not_repeated_and_believed(house: House, times: int) -> None:
    """The disk is opened anew and written as if nothing that is read from it were true, also in putting back."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    failed = _failing(house, "cloud: flush", times)
    restore = house.restore(backup)
    assert failed == ["cloud: flush"] * times
    assert (restore.state, restore.volumes[0].outcome) == (RestoreState.FAIL, _O.PUT_BACK)
    assert house.disks(server) == before


def test_a_restore_after_one_that_left_a_disk_in_doubt_does_not_believe_memory(house: House) -> None:
    """A flush had failed: memory shows the backup, the medium does not hold it."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    failed = _failing(house, "cloud: flush", 1)
    opening = house.power.fault

    def fault(what: str) -> None:
        opening(what)
        if failed and what == "cloud: open_target":
            raise InvalidRequest("the disk is gone for now")

    house.power.fault = fault
    assert house.restore(backup).volumes[0].outcome is _O.DAMAGED
    house.power.fault = lambda what: None
    assert house.restore(backup).state is RestoreState.SUCCESS
    assert house.disks(server) == wanted


def test_a_second_disk_that_does_not_open_leaves_both_untouched(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    opened: list[str] = []

    def fault(happening: str) -> None:
        if happening == "cloud: open_target":
            opened.append(happening)
            if len(opened) % 2 == 0:
                raise Unavailable("disk b is in use")

    house.power.fault = fault
    restore = house.restore(backup)
    assert [volume.outcome for volume in restore.volumes] == [_O.UNTOUCHED, _O.UNTOUCHED]
    assert restore.volumes[1].reason == "disk b is in use"
    assert server.volumes[1].id in restore.volumes[0].reason
    assert len(opened) == 2 * 3  # tried again, for nobody has written to it
    assert house.disks(server) == before
    assert restore.failure is not None
    assert restore.failure.code is Code.UNAVAILABLE
    assert [one.name for one in house.all_backups()] == [backup.name]  # nothing was kept for an undo of nothing


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


def test_a_bug_in_the_middle_of_a_disk_puts_everything_back(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    _failing(house, "cloud: flush", 1, KeyError("a bug"))
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert {volume.outcome for volume in restore.volumes} <= {_O.PUT_BACK, _O.UNTOUCHED}
    assert restore.failure is not None
    assert restore.run_id in restore.failure.message
    assert house.disks(server) == before
    assert house.cloud.log == []
    assert house.backup(backup.id).state is BackupState.AVAILABLE


def _interrupted(house: House, backup: Backup, *, safety: bool = True) -> RestoreId:
    """Begin a restore and end the service when a disk is written and not proven; it is not opened again."""
    restore = house.restore(backup, power_on=True, wait=False, safety=safety)

    def fault(happening: str) -> None:
        if happening == "cloud: flush":
            house.engine.stop(timedelta(0))

    house.power.fault = fault
    house.drain()
    phase = house.service.restores.restore(house.caller, PROJECT, restore.id).phase
    assert phase in (RestorePhase.WRITING, RestorePhase.PROVING)
    house.close()
    return restore.id


def test_an_interrupted_restore_goes_on(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 2)
    id = _interrupted(house, backup)
    house.open()
    house.drain()
    restore = house.wait_for(id)
    assert (restore.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
    assert house.cloud.log == [f"start {server.id}"]
    assert "resumed" in house.story(restore.run_id)
    assert house.story(restore.run_id).count("comparing") == 1


def test_what_somebody_else_wrote_between_two_lives_is_no_success(house: House) -> None:
    """It is found by reading, and the disks hold what they held before all of it."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    before = house.disks(server)
    id = _interrupted(house, backup)
    house.scribble(server, 3)
    house.cloud.start(PROJECT, server.id)  # somebody was impatient
    house.open()
    house.drain()
    restore = house.wait_for(id)
    assert restore.state is RestoreState.FAIL
    assert house.disks(server) == before
    assert house.cloud.log == [f"{verb} {server.id}" for verb in ("start", "stop")]


def test_a_disk_that_was_put_in_the_place_of_the_target_is_not_touched(house: House) -> None:
    """Nothing of it was saved, so what the old one held is not written over it."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    stranger = bytes(range(256)) * 256

    def fault(what: str) -> None:
        if what == "cloud: flush":
            house.cloud.replace_disk(server.volumes[0].id, stranger)
            raise Unavailable("the disk was replaced by another")

    house.power.fault = fault
    restore = house.restore(backup, power_on=True)
    assert (restore.state, restore.volumes[0].outcome) == (RestoreState.FAIL, _O.DAMAGED)
    assert "another disk stands in the place" in restore.volumes[0].reason
    assert house.cloud.bytes_of(server.volumes[0].id) == stranger
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.STOPPED


@pytest.mark.parametrize("crash", [False, True])
def test_a_disk_that_became_read_only_before_anything_reached_it_is_as_it_was(house: House, crash: bool) -> None:
    """Its first write fails, and it never opens for writing again: it is read, and not called damaged."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    before, crashed = house.disks(server), []

    def fault(what: str) -> None:
        if what in ("cloud: write", "cloud: blank", "cloud: zero"):
            house.power.fault = read_only
            if crash:
                crashed.append(what)
                raise PowerCut(what)
            raise Unavailable("read-only file system")

    def read_only(what: str) -> None:
        if what in ("cloud: write", "cloud: blank", "cloud: zero", "cloud: open_target"):
            raise Unavailable("read-only file system")

    house.power.fault = fault
    restore = house.restore(backup, wait=False)
    if crash:
        with pytest.raises(PowerCut):
            house.drain()
        house.crash_and_restart()
        house.power.fault = read_only
    house.drain()
    restore = house.wait_for(restore.id)
    assert (restore.state, restore.volumes[0].outcome) == (RestoreState.FAIL, _O.PUT_BACK)
    assert "read-only file system" in restore.volumes[0].reason
    assert house.disks(server) == before


def test_of_a_disk_that_became_read_only_it_is_told_what_is_not_as_it_was(house: House) -> None:
    """What was written and flushed before is named, to the chunk; everything else holds what it held."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    wanted = house.disks(server)[0]
    for at in (4096, 40960):
        house.cloud.fill(server.volumes[0].id, b"changed", at)
    before = house.disks(server)[0]

    id = _interrupted(house, backup)
    house.open()

    def read_only(what: str) -> None:
        if what == "cloud: open_target":
            raise Unavailable("read-only file system")

    house.power.fault = read_only
    house.drain()
    volume, now = house.wait_for(id).volumes[0], house.disks(server)[0]
    assert volume.outcome is _O.DAMAGED
    assert volume.ranges == ((4096, 4096), (40960, 4096))
    assert now == wanted != before


@pytest.mark.parametrize("safety", [True, False])
def test_a_disk_that_came_between_two_lives_is_not_touched(house: House, safety: bool) -> None:
    """While nobody was there, another disk was put in the place of one that is being written."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    house.scribble(server, 2)
    stranger = bytes(range(256)) * 256
    id = _interrupted(house, backup, safety=safety)
    house.cloud.replace_disk(server.volumes[0].id, stranger)
    house.open()
    house.drain()
    restore = house.wait_for(id)
    assert (restore.state, restore.volumes[0].outcome) == (RestoreState.FAIL, _O.DAMAGED)
    assert "another disk stands in the place" in restore.volumes[0].reason
    assert house.cloud.bytes_of(server.volumes[0].id) == stranger
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.STOPPED


def test_a_disk_that_came_before_anything_was_written_is_restored(house: House) -> None:
    """It is compared as the disk that it is."""
    server = house.server((64 * 1024,))
    wanted, backup = house.disks(server), house.protect(server)
    house.scribble(server, 2)
    restore = house.restore(backup, wait=False)

    def fault(happening: str) -> None:
        if happening == "cloud: read":
            raise PowerCut(happening)

    house.power.fault = fault
    with pytest.raises(PowerCut):
        house.drain()
    house.crash_and_restart()
    assert house.service.restores.restore(house.caller, PROJECT, restore.id).phase is RestorePhase.COMPARING
    house.cloud.replace_disk(server.volumes[0].id, bytes(range(256)) * 256)
    house.drain()
    assert house.wait_for(restore.id).state is RestoreState.SUCCESS
    assert house.disks(server) == wanted


def test_records_that_fail_after_the_commit_leave_a_restore_that_goes_on(house: House) -> None:
    """What was saved is in the repository, and no row tells of it: the next life begins anew, as after a crash."""
    server = house.server()
    wanted, backup = house.disks(server), house.protect(server)
    house.scribble(server, 2)
    committed: list[str] = []

    def fault(what: str) -> None:
        if what.startswith("records: begin") and not what.endswith("reading") and _is_saving(house):
            committed.append(what)
            raise RecordsUnavailable("the disk of the records is full")

    house.power.fault = fault
    with pytest.raises(RecordsUnavailable):
        house.restore(backup)
    house.power.fault = lambda what: None
    house.crash_and_restart()
    house.drain()
    (restore,) = house.service.restores.list(house.caller, PROJECT, RestoreFilter(), Window()).items
    assert committed
    assert (restore.failure, restore.state, house.disks(server)) == (None, RestoreState.SUCCESS, wanted)


def _is_saving(house: House) -> bool:
    """Tell whether a session has committed with pins: between that and the row, nobody else knows."""
    return any(session.pins for session in house.repository.log.refresh().sessions.values())
