"""Backups that become image files: right, or not there; and what is read stays until they are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.repository.harm import spoil, things

from restead.domain.backup import Backup
from restead.domain.errors import Damaged, NotFound
from restead.domain.ids import VolumeId
from restead.drivers.images import ImagesDriver, NewImage
from restead.ports import BlockTarget
from restead.repository.seal import Kind
from restead.workflows.exporting import Exporter
from restead.workflows.meter import Reading
from restead.workflows.stock import disk_names


class Desk:
    """Exports from a house into a folder."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        self.driver = ImagesDriver(folder / "own", folder)
        self.rounds = count()

    def run(
        self, backup: Backup, *, readback: bool = False, meanwhile: Callable[[], object] = lambda: None
    ) -> list[bytes]:
        """Export all disks; return what is in the files, in the order of the backup's disks."""
        folder = self.folder / str(next(self.rounds))
        folder.mkdir()

        @contextmanager
        def images(sizes: Mapping[VolumeId, int]) -> Iterator[Mapping[VolumeId, BlockTarget]]:
            with self.driver.new_images({id: NewImage(folder / id, "raw", size) for id, size in sizes.items()}) as made:
                yield {id: _Watched(target, told) for id, target in made.items()}  # type: ignore[misc]

        disks = [e for e in self.house.repository.manifests(PROJECT) if e.session_label == backup.run_id]
        told = iter([meanwhile])
        exporter = Exporter(self.house.repository, self.house.folder)
        try:
            exporter.run(disks, images, _nobody, readback=readback)
        except BaseException:
            assert not list(folder.iterdir())
            raise
        return [(folder / volume.volume_id).read_bytes() for volume in backup.volumes]

    def open_sessions(self) -> list[str]:
        return [each.label for each in self.house.repository.log.refresh().sessions.values() if each.open]


class _Watched:
    """A target at whose first write something happens meanwhile."""

    def __init__(self, target: BlockTarget, meanwhile: Iterator[Callable[[], object]]) -> None:
        self._target, self._meanwhile = target, meanwhile

    def write_at(self, offset: int, data: bytes) -> None:
        for happens in self._meanwhile:
            happens()
        self._target.write_at(offset, data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._target, name)


def _nobody(reading: Reading) -> None:
    """Nobody watches."""


@pytest.fixture
def desk(house: House, tmp_path: Path) -> Desk:
    return Desk(house, tmp_path)


@pytest.mark.parametrize("readback", [False, True])
def test_files_hold_what_the_disks_held(desk: Desk, readback: bool) -> None:
    server = desk.house.server([200 * 1024, 512 * 77])
    wanted = desk.house.disks(server)
    backup = desk.house.protect(server)
    desk.house.scribble(server, 5)
    assert desk.run(backup, readback=readback) == wanted
    assert desk.open_sessions() == []
    assert not list(desk.house.folder.glob("*.exports/export*"))
    entries = desk.house.repository.manifests(PROJECT)
    assert list(disk_names(desk.house.repository, entries).values()) == [each.name for each in server.volumes]


def test_a_backup_is_kept_while_it_is_exported(desk: Desk) -> None:
    """Deleted and collected twice under our hands; afterwards it is gone."""
    house = desk.house
    server = house.server()
    wanted, backup = house.disks(server), house.protect(server)

    def remove() -> None:
        house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
        house.drain()
        for _ in range(2):
            house.repository.collect()

    assert desk.run(backup, meanwhile=remove) == wanted
    assert house.repository.manifests(PROJECT) == []


def test_one_that_is_deleted_before_is_not_found(desk: Desk) -> None:
    backup = desk.house.protect(desk.house.server())
    entries = desk.house.repository.manifests(PROJECT)
    desk.house.repository.delete([entry.id for entry in entries])
    with pytest.raises(NotFound):
        Exporter(desk.house.repository, desk.house.folder).run(entries, None, _nobody)  # type: ignore[arg-type]
    assert backup.volumes[0].manifest == entries[0].id


def test_what_is_damaged_becomes_no_file(desk: Desk) -> None:
    """One chunk of the second disk: neither disk is there, and disk and bytes are named."""
    house = desk.house
    server = house.server([4096 * 3, 4096 * 5])
    for volume in server.volumes:
        house.cloud.fill(volume.id, volume.name.encode() * 500)
    house.cloud.fill(server.volumes[1].id, b"alone" * 800, 8192)
    backup = house.protect(server)
    room = house.repository._room(PROJECT)
    name = room.names.name(Kind.CHUNK, house.disks(server)[1][8192:12288])
    assert name in {thing.name for _, thing in things(house.repository)}
    spoil(house.repository, house.store, {name})
    with pytest.raises(Damaged, match=f"disk {server.volumes[1].id}, bytes 8192 to 12288: ") as caught:
        desk.run(backup)
    assert caught.value.ranges == ((8192, 4096),)
    assert desk.open_sessions() == []


def test_power_cut_anywhere(desk: Desk) -> None:
    """What it leaves open is ended by the next export; one that is under way is left alone by another."""
    house = desk.house
    server = house.server()
    wanted, backup = house.disks(server), house.protect(server)
    left = 0
    for at in count(1):
        house.cut_power_at(at)
        try:
            assert desk.run(backup) == wanted
            break
        except PowerCut:
            house.crash_and_restart()
        left += len(desk.open_sessions())
        inner: list[list[bytes]] = []
        assert desk.run(backup, meanwhile=lambda inner=inner: inner.append(desk.run(backup))) == wanted  # type: ignore[misc]
        assert inner == [wanted]
        assert desk.open_sessions() == []
    assert left > 0, "no cut left a session open: this test has not met what it is about"
