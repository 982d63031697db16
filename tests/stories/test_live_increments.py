"""Increments by dirty bitmaps: full and three more, each brought back and booted; and when a bitmap is not believed."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.live import await_
from tests.drivers.image_files import qemu_img
from tests.house import PROJECT
from tests.lab.microguest import MIB
from tests.stories.live_house import SIZES, LiveHouse, is_a_moment, numbers

from restead.domain.backup import Backup
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState
from restead.records import known

CHUNKS = 512 * 1024  # bytes: what two granules of 64 KiB on each disk may make an increment read, and then some


@pytest.fixture(params=["raw", "qcow2"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LiveHouse]:
    yield from _house(tmp_path, request.param)


@pytest.fixture
def qcow2(tmp_path: Path) -> Iterator[LiveHouse]:
    yield from _house(tmp_path, "qcow2")


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[LiveHouse]:
    yield from _house(tmp_path, "raw")


def _house(folder: Path, format: str) -> Iterator[LiveHouse]:
    house = LiveHouse(folder, format=format)
    yield house
    house.close()


def good(backup: Backup) -> Backup:
    assert backup.state is BackupState.AVAILABLE, backup.failure
    return backup


def test_a_full_backup_and_three_increments_of_a_guest_that_writes(house: LiveHouse) -> None:
    """Each of them is a moment, a later one than the one before, and boots; the increments read what was written."""
    server, spare = house.machine("W"), house.machine("H", "spare")
    house.start_machine(server)
    backups = []
    for count in range(4):
        backups.append(good(house.protect(server)))
        assert [len(names) for names in house.bitmaps(server)] == [1, 1]
        house.as_the_guest_does(server, 1, f"write -P {count + 1} {count + 3}M 64k")
    assert [house.read_by(backup) for backup in backups[:1]] == [sum(SIZES)]
    assert all(0 < house.read_by(backup) <= CHUNKS for backup in backups[1:])
    seen = []
    for count, backup in enumerate(backups):
        disks = house.brought_back(backup, spare)
        assert is_a_moment(disks)
        seen.append(numbers(disks))
        written = [disks[1][(each + 3) * MIB : (each + 3) * MIB + 65536] for each in range(3)]
        assert [data == bytes([each + 1]) * 65536 for each, data in enumerate(written)] == [n < count for n in range(3)]
        report = house.boots(disks)
        assert report is not None
        assert report.boots == 2
    assert seen == sorted(seen)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_chunks_that_are_holes_in_part_are_not_read_again(tmp_path: Path, format: str) -> None:
    house = LiveHouse(tmp_path, format=format, chunk_size=256 * 1024)
    try:
        server, spare = house.machine("H"), house.machine("H", "spare")
        house.start_machine(server)
        for at in range(4096, 7168, 128):  # KiB
            house.as_the_guest_does(server, 1, f"write -P 4 {at}k 64k")
        good(house.protect(server))
        house.as_the_guest_does(server, 1, "write -P 5 5M 64k")
        second = good(house.protect(server))
        house.stop_machine(server)
        assert house.brought_back(second, spare) == house.held(server)
        assert 0 < house.read_by(second) <= 2 * CHUNKS  # the guest's own disk, too
    finally:
        house.close()


def test_what_is_written_while_a_backup_reads_is_in_the_next(house: LiveHouse) -> None:
    """Neither in this one nor lost."""
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    good(house.protect(server))
    opening = house.driver.open_moment

    def open_and_write(*words: object) -> object:
        return _Writing(opening(*words), lambda: house.as_the_guest_does(server, 1, "write -P 7 5M 64k"))  # type: ignore[arg-type]

    house.driver.open_moment = open_and_write  # type: ignore[method-assign, assignment]
    second = good(house.protect(server))
    house.driver.open_moment = opening  # type: ignore[method-assign]
    third = good(house.protect(server))
    assert house.read_by(third) <= CHUNKS
    assert house.brought_back(second, spare)[1][5 * MIB :][:65536] == bytes(65536)
    assert house.brought_back(third, spare)[1][5 * MIB :][:65536] == b"\7" * 65536


class _Writing:
    """A moment during which something happens."""

    def __init__(self, opening: object, happens: Callable[[], None]) -> None:
        self._opening = opening
        self._happens = happens

    def __enter__(self) -> object:
        moment = self._opening.__enter__()  # type: ignore[attr-defined]
        self._happens()
        return moment

    def __exit__(self, *what: object) -> object:
        return self._opening.__exit__(*what)  # type: ignore[attr-defined]


def test_moments_that_became_no_backup_lose_nothing(house: LiveHouse) -> None:
    """One breaks off while it is read, one when it is committed; the next is still an increment, of all since."""
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    good(house.protect(server))
    house.as_the_guest_does(server, 1, "write -P 1 3M 64k")
    with pytest.raises(KeyError), house.driver.open_moment(PROJECT, server.id, [v.id for v in server.volumes]):
        raise KeyError("the story broke off")
    assert [len(names) for names in house.bitmaps(server)] == [1, 1]
    house.as_the_guest_does(server, 1, "write -P 2 4M 64k")
    with house.driver.open_moment(PROJECT, server.id, [v.id for v in server.volumes]):
        pass  # and nobody commits it
    assert [len(names) for names in house.bitmaps(server)] == [2, 2]
    house.as_the_guest_does(server, 1, "write -P 3 5M 64k")
    second = good(house.protect(server))
    assert 0 < house.read_by(second) <= 2 * CHUNKS
    assert [len(names) for names in house.bitmaps(server)] == [1, 1]
    disks = house.brought_back(second, spare)
    assert [disks[1][at * MIB] for at in (3, 4, 5)] == [1, 2, 3]


def _restarted(house: LiveHouse, server: Server, meanwhile: Callable[[], None] = lambda: None) -> None:
    house.stop_machine(server)
    meanwhile()
    house.start_machine(server)


def _is_right(house: LiveHouse, server: Server, spare: Server) -> int:
    """Back up the running server, whose guest idles, and bring that back; return how many bytes were read."""
    backup = good(house.protect(server))
    house.stop_machine(server)
    assert house.brought_back(backup, spare) == house.held(server)
    return house.read_by(backup)


def _qemu_io(path: Path, *commands: str) -> None:
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", path.suffix[1:], *words, str(path)], check=True, stdout=subprocess.DEVNULL)


def test_bitmaps_of_raw_disks_end_with_qemu(raw: LiveHouse) -> None:
    """And what was written to the disk meanwhile by somebody else is in the next backup."""
    server, spare = raw.machine("H"), raw.machine("H", "spare")
    raw.start_machine(server)
    good(raw.protect(server))
    _restarted(raw, server, lambda: _qemu_io(raw.machines.path_of(server, 1), "write -P 9 6M 64k"))
    assert _is_right(raw, server, spare) == sum(SIZES)


def test_bitmaps_of_qcow2_disks_go_on_in_the_next_qemu(qcow2: LiveHouse) -> None:
    """What QEMU's tools have written meanwhile is noted in them, too."""
    server, spare = qcow2.machine("H"), qcow2.machine("H", "spare")
    qcow2.start_machine(server)
    good(qcow2.protect(server))
    _restarted(qcow2, server, lambda: _qemu_io(qcow2.machines.path_of(server, 1), "write -P 9 6M 64k"))
    assert 0 < _is_right(qcow2, server, spare) <= CHUNKS


def test_bitmaps_of_a_killed_qemu_are_not_believed(house: LiveHouse) -> None:
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    good(house.protect(server))
    _restarted(house, server)  # a qcow2 image has stored its bitmap, and it is in use from here on
    house.as_the_guest_does(server, 1, "write -P 4 6M 64k")
    os.kill(int((house.machines.folder / f"data/servers/{server.id}.pid").read_text()), signal.SIGKILL)
    await_(lambda: house.driver.server(PROJECT, server.id).status is ServerStatus.STOPPED)
    house.start_machine(server)
    assert _is_right(house, server, spare) == sum(SIZES)


def test_a_disk_that_was_restored_in_between_is_read_whole(house: LiveHouse) -> None:
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    first = good(house.protect(server))
    house.as_the_guest_does(server, 1, "write -P 4 3M 64k")
    good(house.protect(server))
    house.stop_machine(server)
    assert house.restore(first).state.value == "success"
    house.start_machine(server)
    assert _is_right(house, server, spare) == sum(SIZES)


@pytest.mark.parametrize("written", [[], ["write -P 5 7M 1k", "write -P 5 5M 1k"]])
def test_an_image_that_was_made_smaller_and_larger_again_is_backed_up_as_it_is(
    qcow2: LiveHouse, written: list[str]
) -> None:
    """No bitmap notes that; what was cut off is a hole now, whatever was written behind it since."""
    server, spare = qcow2.machine("H"), qcow2.machine("H", "spare")
    qcow2.start_machine(server)
    qcow2.as_the_guest_does(server, 1, "write -P 4 6M 1M")
    good(qcow2.protect(server))
    path = str(qcow2.machines.path_of(server, 1))

    def resize() -> None:
        qemu_img("resize", "-q", "--shrink", path, "4M")
        qemu_img("resize", "-q", path, "8M")

    _restarted(qcow2, server, resize)
    for command in written:
        qcow2.as_the_guest_does(server, 1, command)
    _is_right(qcow2, server, spare)


def test_a_disk_that_has_grown_is_read_whole(qcow2: LiveHouse) -> None:
    server, spare = qcow2.machine("H"), qcow2.machine("H", "spare")
    qcow2.start_machine(server)
    good(qcow2.protect(server))
    qemu_img("resize", "-q", str(qcow2.machines.path_of(spare, 1)), "9M")

    def grow() -> None:
        qemu_img("resize", "-q", str(qcow2.machines.path_of(server, 1)), "9M")

    _restarted(qcow2, server, grow)
    assert 9 * MIB <= _is_right(qcow2, server, spare) < 9 * MIB + CHUNKS  # the other disk has its bitmap


@pytest.mark.parametrize("harm", ["disable", "remove"])
def test_a_bitmap_that_somebody_has_touched_is_not_believed(house: LiveHouse, harm: str) -> None:
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    good(house.protect(server))
    (name,) = house.bitmaps(server)[1]
    with house.talking(server) as monitor:
        monitor.ask(f"block-dirty-bitmap-{harm}", node="disk1", name=name)
    house.as_the_guest_does(server, 1, "write -P 4 6M 64k")
    assert _is_right(house, server, spare) >= SIZES[1]


def test_a_stopped_server_is_read_where_its_images_bitmaps_say(qcow2: LiveHouse) -> None:
    server, spare = qcow2.machine("H"), qcow2.machine("H", "spare")
    qcow2.start_machine(server)
    good(qcow2.protect(server))
    qcow2.as_the_guest_does(server, 1, "write -P 5 6M 64k")
    qcow2.stop_machine(server)
    backup = good(qcow2.protect(server))
    assert backup.consistency == "offline"
    assert 0 < qcow2.read_by(backup) <= CHUNKS
    assert qcow2.brought_back(backup, spare) == qcow2.held(server)


def test_a_restore_reads_where_its_images_bitmaps_say(qcow2: LiveHouse) -> None:
    """And what it writes is noted in them, too: the next live backup is right."""
    server, spare = qcow2.machine("H"), qcow2.machine("H", "spare")
    qcow2.start_machine(server)
    first = good(qcow2.protect(server))
    qcow2.as_the_guest_does(server, 1, "write -P 5 6M 64k")
    qcow2.stop_machine(server)
    disk = server.volumes[1].id
    with qcow2.records.read() as tx:
        held = known.known(tx, PROJECT, disk)
    assert held is not None
    with qcow2.driver.open_target(PROJECT, server.id, disk) as target:
        changed = target.changed_since(held.generation)
        assert changed is not None
        data = [each for at, length in changed for each in target.extents(at, length) if each.data]
        assert [(each.offset, each.length) for each in data] == [(6 * MIB, 65536)]
        assert target.changed_since("bitmap restead-00000001-0123456789abcdef 8388608") is None
    expected = qcow2.brought_back(first, spare)
    assert qcow2.restore(first).state.value == "success"
    assert qcow2.held(server) == expected
    qcow2.start_machine(server)
    _is_right(qcow2, server, spare)


def test_a_full_backup_reads_everything(raw: LiveHouse) -> None:
    server = raw.machine("H")
    raw.start_machine(server)
    good(raw.protect(server))
    assert raw.read_by(good(raw.protect(server, full=True))) == sum(SIZES)
    assert raw.read_by(good(raw.protect(server))) == 0
