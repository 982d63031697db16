"""qcow2 images on block devices in a whole house: increments, restores in place, and devices that are too small."""

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.drivers.image_files import bytes_of, needs_loops, needs_qemu_nbd
from tests.house import PROJECT
from tests.lab.microguest import MIB
from tests.stories.libvirt_house import LibvirtHouse
from tests.stories.live_house import SIZES, LiveHouse

from restead.domain.backup import Backup
from restead.domain.errors import Code
from restead.domain.ids import VolumeId
from restead.domain.restore import Restore
from restead.domain.server import Server
from restead.domain.states import BackupState, RestoreState, VolumeOutcome
from restead.drivers.images import ImagesDriver, NewImage
from restead.ports import BlockTarget
from restead.workflows.exporting import Exporter

pytestmark = [needs_loops, needs_qemu_nbd]

CHUNKS = 512 * 1024  # bytes that an increment of little may read


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LiveHouse]:
    house = LiveHouse(tmp_path, format="qcow2", devices=True)
    yield house
    house.close()


@pytest.fixture
def coarse(tmp_path: Path) -> Iterator[LiveHouse]:
    """With chunks of 256 KiB, as a repository has: four clusters."""
    house = LiveHouse(tmp_path, format="qcow2", devices=True, chunk_size=256 * 1024)
    yield house
    house.close()


def good(backup: Backup) -> Backup:
    assert backup.state is BackupState.AVAILABLE, backup.failure
    return backup


def device(server: Server, number: int = 1) -> Path:
    path = Path(server.volumes[number].location)
    assert path.is_block_device()
    return path


def written(house: LiveHouse, server: Server, *pieces: tuple[int, int]) -> Server:
    """Write random bytes to these (offset, length) of the data disk."""
    with house.driver.open_target(PROJECT, server.id, server.volumes[1].id) as target:
        for offset, length in pieces:
            target.write_at(offset, random.Random(offset).randbytes(length))
        target.flush()
    return server


def outcomes(restore: Restore) -> list[VolumeOutcome]:
    return [volume.outcome for volume in restore.volumes]


def test_increments_and_restores_go_by_the_bitmaps_in_the_images(house: LiveHouse) -> None:
    """Of a server that runs, of one that is stopped, and after a restore in place, which they have recorded."""
    server, spare = house.machine("H"), house.machine("H", "spare")
    house.start_machine(server)
    first = good(house.protect(server))
    house.as_the_guest_does(server, 1, "write -P 5 5M 64k")
    second = good(house.protect(server))
    house.as_the_guest_does(server, 1, "write -P 6 6M 64k")
    house.stop_machine(server)
    third = good(house.protect(server))
    assert [each.consistency for each in (first, second, third)] == ["crash", "crash", "offline"]
    assert house.read_by(first) == sum(SIZES)
    read = [house.read_by(each) for each in (second, third)]
    assert all(0 < each <= CHUNKS for each in read), read
    held = house.held(server)
    assert house.brought_back(third, spare) == exported(house, third) == held
    restored = house.restore(first)
    assert (restored.state, house.held(server)[1][5 * MIB]) == (RestoreState.SUCCESS, 0)
    assert held[1][5 * MIB] == 5
    house.start_machine(server)
    fourth = good(house.protect(server))
    assert [len(names) for names in house.bitmaps(server)] == [1, 1]
    assert 0 < house.read_by(fourth) <= 2 * CHUNKS
    house.stop_machine(server)
    assert house.brought_back(fourth, spare) == house.held(server)


def exported(house: LiveHouse, backup: Backup) -> list[bytes]:
    """Export a backup to images in files; return what they show."""
    folder = house.folder / "exported"
    folder.mkdir()
    driver = ImagesDriver(folder / "own", house.runtime)

    def images(sizes: Mapping[VolumeId, int]) -> AbstractContextManager[Mapping[VolumeId, BlockTarget]]:
        return driver.new_images({id: NewImage(folder / id, "qcow2", size) for id, size in sizes.items()})

    disks = [each for each in house.repository.manifests(PROJECT) if each.session_label == backup.run_id]
    Exporter(house.repository, house.folder).run(disks, images, lambda _: None)
    return [bytes_of(folder / volume.volume_id, "qcow2") for volume in backup.volumes]


def test_domains_with_such_disks_come_back(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")
    house = LibvirtHouse(tmp_path, format="qcow2", devices=True)
    try:
        server, spare = house.machine("H"), house.machine("H", "spare")
        house.start_machine(server)
        backups = [good(house.protect(server)) for _ in range(2)]
        assert house.read_by(backups[1]) <= CHUNKS
        house.stop_machine(server)
        backups.append(good(house.protect(server)))
        held = house.held(server)
        assert [house.brought_back(backup, spare) for backup in backups] == [held] * 3
        written(house, server, (MIB, 2 * MIB))
        assert house.restore(backups[1]).state is RestoreState.SUCCESS
        assert house.held(server) == held
    finally:
        house.close()


def test_a_device_that_is_too_small_is_refused_before_the_first_write(house: LiveHouse) -> None:
    """With both numbers; when it was made larger the same restore succeeds."""
    server, spare = house.machine("H"), house.machine("H", "spare")
    backup = good(house.protect(written(house, server, (0, 7 * MIB))))
    house.machines.loops.resize(device(spare), 4 * MIB)
    before = house.held(spare)
    refused = house.restore(backup, spare)
    assert (refused.state, outcomes(refused)) == (RestoreState.FAIL, [VolumeOutcome.UNTOUCHED] * 2)
    assert refused.failure is not None
    assert refused.failure.code is Code.TARGET_TOO_SMALL
    assert f"disk {spare.volumes[1].id} is a qcow2 image on a device of {4 * MIB} bytes" in refused.failure.message
    assert f"at least {5 * MIB} are needed" in refused.failure.message
    assert house.held(spare) == before
    house.machines.loops.resize(device(spare), 9 * MIB)
    assert house.brought_back(backup, spare) == house.held(server)


@pytest.mark.parametrize("blank", [False, True])
def test_what_fits_is_not_refused_though_whole_chunks_would_not(coarse: LiveHouse, blank: bool) -> None:
    """Data in a quarter of each chunk: what is counted, and written, is the clusters that hold any."""
    server, spare = coarse.machine("H"), coarse.machine("H", "spare")
    with coarse.driver.open_target(PROJECT, server.id, server.volumes[1].id) as target:
        target.zero_at(0, target.size)
        target.flush()
    written(coarse, server, *((at, 4096) for at in range(0, SIZES[1], 256 * 1024)))
    if blank:
        with coarse.driver.open_target(PROJECT, spare.id, spare.volumes[1].id) as target:
            target.zero_at(0, target.size)
            target.flush()
    backup = good(coarse.protect(server))
    coarse.machines.loops.resize(device(spare), 5 * MIB)
    assert coarse.brought_back(backup, spare) == coarse.held(server)


def test_a_device_that_is_full_in_the_middle_gets_back_what_it_held(coarse: LiveHouse) -> None:
    """When nobody could know before.  Zeroes in what is put back take no place that they did not have."""
    house, server, spare = coarse, coarse.machine("H"), coarse.machine("H", "spare")
    backup = good(house.protect(written(house, server, (0, 7 * MIB))))
    written(house, spare, *((at, 4096) for at in range(4 * MIB, SIZES[1], 256 * 1024)))
    house.machines.loops.resize(device(spare), 6 * MIB)
    before, opening = house.held(spare), house.driver.open_target

    @contextmanager
    def open_unaware(*words: object) -> Iterator[object]:
        with opening(*words) as target:  # type: ignore[arg-type]
            yield _Unaware(target)

    house.driver.open_target = open_unaware  # type: ignore[method-assign, assignment]
    failed = house.restore(backup, spare)
    assert failed.state is RestoreState.FAIL
    assert outcomes(failed)[1] is VolumeOutcome.PUT_BACK
    assert failed.failure is not None
    assert f"No space left on device: it is a qcow2 image, which has filled its device of {6 * MIB}" in (
        failed.failure.message
    )
    assert house.held(spare) == before


class _Unaware:
    """A target of which nobody knows that its space has an end."""

    limited = False

    def __init__(self, target: BlockTarget) -> None:
        self._target = target

    def __getattr__(self, name: str) -> object:
        return getattr(self._target, name)
