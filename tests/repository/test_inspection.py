"""Looking at a whole repository finds all damage, at the right depth, and says which disks need it."""

import itertools
import random
import threading
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.harm import flip, replace, spoil, things
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId, ProjectId
from restead.domain.verification import Depth
from restead.repository import Inspected, Journal, scrub
from restead.repository.seal import Kind

CHUNK = 512
DEPTHS = list(Depth)


class Stocked(House):
    """A repository with two disks, one of them backed up twice, of two projects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, chunk_size=CHUNK, threads=1)
        luck = random.Random(1)
        self.disk = MemoryDisk.of(luck.randbytes(600_000))
        self.first = self.save(self.disk)
        self.disk.write_at(100_000, luck.randbytes(5000))
        self.second = self.save(self.disk, self.first)
        self.other_data = luck.randbytes(9_000)
        self.other = self.save(MemoryDisk.of(self.other_data))
        with self.repository.session(ProjectId("p2"), label="b") as session:
            saved = session.save(MemoryDisk.of(self.other_data), description=ABOUT)
            self.strange = session.commit([saved])[0]

    def look(self, depth: Depth, **how: object) -> Inspected:
        return self.open().inspect(depth, **how)  # type: ignore[arg-type]

    def chunk_of(self, manifest: ManifestId, offset: int) -> bytes:
        room = self.repository._room(PROJECT)
        tree = room.tree(self.repository.manifest(manifest).root)
        at = offset // CHUNK
        return tree.leaf(at // 1024)[at % 1024 * 32 : (at % 1024 + 1) * 32]


@pytest.fixture
def house(tmp_path: Path) -> Stocked:
    return Stocked(tmp_path)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_whole_repository_is_sound(house: Stocked, depth: Depth) -> None:
    told: list[tuple[int, int]] = []
    found = house.look(depth, told=lambda done, total: told.append((done, total)))
    assert found == Inspected()
    assert told[-1][0] == told[-1][1] == sum(size for _, size in house.store.list("packs/"))


def test_a_flipped_bit_of_a_chunk_is_found_by_reading_and_mapped(house: Stocked) -> None:
    """It is in two of the four disks, at one place; structure alone does not see it."""
    spoil(house.repository, house.store, {house.chunk_of(house.first, 50_000)})
    assert house.look(Depth.STRUCTURE) == Inspected()
    for depth in (Depth.OBJECTS, Depth.FULL):
        found = house.look(depth)
        assert len(found.findings) == 1
        assert found.findings[0].object in {name for name, _ in house.store.list("packs/")}
        assert [disk.manifest for disk in found.disks] == [house.first, house.second]
        assert {disk.ranges for disk in found.disks} == {((50_000 // CHUNK * CHUNK, CHUNK),)}
        assert found.disks[0].lost == CHUNK


def test_a_wrongly_sealed_chunk_is_found_by_opening_alone(house: Stocked) -> None:
    """A writer's bug: every bit is as it was put, and what is inside is not what its name says."""
    with house.repository.session(PROJECT, label="bug") as session:
        studio = session._studio
        real = studio.names.chunk
        studio.names.chunk = lambda data: bytes(31) + b"\1" if bytes(data[:3]) == b"bug" else real(data)  # type: ignore[method-assign]
        saved = session.save(MemoryDisk.of(b"bug" + bytes(9) + b"x" * 1000), description=ABOUT)
        studio.names.chunk = real  # type: ignore[method-assign]
        bad = session.commit([saved])[0]
    assert house.look(Depth.STRUCTURE) == house.look(Depth.OBJECTS) == Inspected()
    (damaged,) = house.look(Depth.FULL).disks
    assert (damaged.manifest, damaged.ranges) == (bad, ((0, CHUNK),))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_missing_pack_is_found_at_every_depth(house: Stocked, depth: Depth) -> None:
    name = min(pack for pack, thing in things(house.repository) if thing.name == house.chunk_of(house.other, 0))
    house.store.delete(name)
    found = house.look(depth)
    assert name in [each.object for each in found.findings]
    assert [(disk.manifest, disk.lost) for disk in found.disks] in ([(house.other, 9000)], [(house.other, 0)])


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_cut_pack_is_found_at_every_depth(house: Stocked, depth: Depth) -> None:
    name, size = max(house.store.list("packs/"), key=lambda each: each[1])
    replace(house.store, name, house.store.get(name)[: size // 2])
    found = house.look(depth)
    assert [each.object for each in found.findings] == [name]
    assert {disk.manifest for disk in found.disks} == {house.first, house.second}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_lost_page_means_all_below_it(house: Stocked, depth: Depth) -> None:
    tree = house.repository._room(PROJECT).tree(house.repository.manifest(house.first).root)
    name = tree.name_at(0, 1)
    assert name is not None
    spoil(house.repository, house.store, {name})
    found = house.look(depth)
    assert {disk.ranges for disk in found.disks} == {((1024 * CHUNK, 600_000 - 1024 * CHUNK),)}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_lost_root_is_told(house: Stocked, depth: Depth) -> None:
    root = house.repository._entry(house.other).root
    spoil(house.repository, house.store, {root})
    (disk,) = house.look(depth).disks
    assert (disk.manifest, disk.ranges) == (house.other, ())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("prefix", ["keyring/", "log/", "index/"])
def test_damage_outside_of_packs_is_named(house: Stocked, prefix: str, depth: Depth) -> None:
    """A repository that is open already still tells; one that is opened anew refuses, and names the object, too."""
    name = min(name for name, _ in house.store.list(prefix))
    flip(house.store, name, 60)
    found = house.repository.inspect(depth)
    assert [each.object for each in found.findings] == [name]
    assert found.disks == []


def test_snapshots_are_compared_with_the_log(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.repository.log._snapshot_every = 5
    for _ in range(3):
        house.save(MemoryDisk.of(b"x" * 5000))
    ((_, _), *_) = names = sorted(house.store.list("snapshot/"))
    assert names
    other = House(tmp_path / "other") if (tmp_path / "other").mkdir() is None else house
    other.repository.log._snapshot_every = 5
    assert house.open().inspect(Depth.STRUCTURE) == Inspected()
    flip(house.store, names[0][0], 70)
    assert [each.object for each in house.repository.inspect(Depth.STRUCTURE).findings] == [names[0][0]]


def test_what_is_deleted_meanwhile_is_no_damage(house: Stocked) -> None:
    """Somebody deletes the disk and what only it needed while its packs are looked at."""
    gone = {pack for pack, thing in things(house.repository) if thing.name == house.chunk_of(house.other, 0)}
    repository = house.open()

    def told(_done: int, _total: int) -> None:
        house.repository.delete([house.other])
        for name in gone:
            house.store.delete(name)

    assert repository.inspect(Depth.FULL, told=told) == Inspected()


@pytest.mark.parametrize("depth", [Depth.OBJECTS, Depth.FULL])
def test_an_interrupted_look_goes_on_where_it_was(house: Stocked, depth: Depth) -> None:
    """No pack is read twice, and what was found before is told at the end."""
    name, size = min(house.store.list("packs/"))
    flip(house.store, name, size // 2)
    repository = house.open()

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        repository.inspect(depth, told=stop)
    seen: list[int] = []
    found = repository.inspect(depth, told=lambda done, _: seen.append(done))
    packs = len(list(house.store.list("packs/")))
    assert len(seen) == packs - 1
    assert [each.object for each in found.findings] == [name]
    seen.clear()
    repository.inspect(depth, told=lambda done, _: seen.append(done))
    assert len(seen) == packs, "the next one begins anew"


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_scrub_without_a_key_is_resumed(house: Stocked, tmp_path: Path, at_once: int) -> None:
    names = sorted(name for name, _ in house.store.list(""))
    flip(house.store, names[0], 60)
    read: list[int] = []

    def spend(length: int) -> None:
        read.append(length)
        if len(read) == 4:
            raise InterruptedError

    journal = Journal(tmp_path / "state.json")
    with pytest.raises(InterruptedError):
        list(scrub(house.store, spend=spend, journal=journal, threads=at_once))
    journal.keep()
    again = Journal(tmp_path / "state.json")
    (finding,) = scrub(house.store, journal=again, threads=at_once)
    assert names[0] in finding.message
    assert again.objects == len(names)
    assert len(list(scrub(house.store, journal=Journal(tmp_path / "state.json", restart=True)))) == 1


def test_a_scrub_looks_at_as_many_objects_at_once_as_it_is_told(house: Stocked) -> None:
    """The first four are only read together; findings come in the order of names all the same."""
    names = sorted(name for name, _ in house.store.list(""))
    for name in names[:4]:
        flip(house.store, name, 60)
    together, count = threading.Barrier(4), itertools.count()

    def spend(_length: int) -> None:
        if next(count) < 4:
            together.wait(120)

    found = [error.message.split()[0] for error in scrub(house.store, spend=spend, threads=4)]
    assert found == names[:4]


def test_verification_lets_the_next_backup_heal(house: Stocked) -> None:
    """All chunks and pages of a disk are lost; once that is known the next backup makes the old one whole."""
    repository = house.open()
    for pack, thing in things(house.repository):
        if thing.kind is not Kind.ROOT:
            flip(house.store, pack, thing.offset + 3)
    assert repository.inspect(Depth.OBJECTS).disks
    house.save(house.disk, repository=house.open(fresh_cache=False))
    house.save(MemoryDisk.of(house.other_data), repository=house.open(fresh_cache=False))
    target = MemoryDisk(house.disk.size)
    house.restore(house.second, target, repository=house.open())
    assert house.disk.data == target.data
    found = house.open(fresh_cache=False).inspect(Depth.FULL)
    assert {disk.manifest for disk in found.disks} == {house.first}, "what it alone had held is lost"
    assert found.disks[0].lost > 0


def test_what_came_back_is_not_stored_again(house: Stocked) -> None:
    """A pack that was put back from elsewhere: a look that reads it forgets that it was lost."""
    repository = house.open()
    name = max(house.store.list("packs/"), key=lambda each: each[1])[0]
    whole = house.store.get(name)
    flip(house.store, name, 1000)
    assert repository.inspect(Depth.OBJECTS).disks
    replace(house.store, name, whole)
    assert house.open(fresh_cache=False).inspect(Depth.OBJECTS) == Inspected()
    _, saved = house.saved(house.disk, house.second, repository=house.open(fresh_cache=False))
    assert saved.count.new == 0


def test_reading_an_unreadable_log_is_refused(house: Stocked) -> None:
    house.store.delete("log/2")
    with pytest.raises(Damaged, match="log/2"):
        house.look(Depth.STRUCTURE)
