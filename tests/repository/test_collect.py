"""Collection: what nothing needs goes, what anything needs stays, whoever works, crashes or fails meanwhile."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.fakes.disks import MemoryDisk
from tests.fakes.power import Power, PowerCut, PoweredStore
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import Repository
from restead.repository.collect import Waste, is_small, worth_merging
from restead.repository.log import Hold, condemns
from restead.repository.pack import PACK_SIZE, PACK_THINGS

CHUNK = 4096


_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as found:
        yield Path(found)


@pytest.fixture
def house(folder: Path) -> House:
    return House(folder, threads=1)


def _data(seed: int, chunks: int = 8) -> bytes:
    return random.Random(seed).randbytes(chunks * CHUNK)


def _packs(house: House) -> set[str]:
    return {name for name, _ in house.store.list("packs/")}


def _bytes_of(house: House, manifest: ManifestId) -> bytes:
    target = MemoryDisk(house.open().manifest(manifest).size)
    house.restore(manifest, target, repository=house.open())
    return target.data


def _all_is_there(house: House, *kept: tuple[ManifestId, bytes]) -> None:
    for manifest, data in kept:
        assert _bytes_of(house, manifest) == data
    said = house.open().collect(dry=True)
    assert (said.condemned, said.garbage, said.later) == (0, 0, 0)


def test_what_nothing_needs_goes_and_the_rest_restores(house: House) -> None:
    kept, gone = house.save(MemoryDisk.of(_data(1))), house.save(MemoryDisk.of(_data(2)))
    size = sum(size for _, size in house.store.list("packs/"))
    house.repository.delete([gone])
    said = house.repository.collect(dry=True)
    assert (said.condemned, said.removed, said.freed) == (1, 0, 0)
    assert said.garbage > 8 * CHUNK
    done = house.repository.collect()
    assert (done.condemned, done.removed, done.rewritten, done.copied) == (1, 1, 0, 0)
    assert done.freed == size - sum(size for _, size in house.store.list("packs/"))
    _all_is_there(house, (kept, _data(1)))


def test_an_empty_repository_is_collected_in_vain(house: House) -> None:
    assert house.repository.collect().removed == 0
    house.repository.delete([house.save(MemoryDisk.of(_data(1)))])
    house.repository.collect()
    assert _packs(house) == set()
    assert list(house.store.list("index/")) == []


def test_of_a_pack_that_is_mostly_garbage_the_rest_is_copied(house: House) -> None:
    """Seven of eight chunks of the first backup are needed by nobody else."""
    first = house.save(MemoryDisk.of(_data(1)))
    second = house.save(MemoryDisk.of(_data(1)[:CHUNK] + _data(2, 7)), first)
    house.repository.delete([first])
    done = house.repository.collect(garbage=0.5)
    assert (done.condemned, done.rewritten, done.removed) == (1, 1, 1)
    assert 0 < done.copied < 2 * CHUNK
    _all_is_there(house, (second, _data(1)[:CHUNK] + _data(2, 7)))
    assert house.open().collect(garbage=0.01).condemned == 0  # a fresh pack is no garbage


def test_of_a_pack_that_is_mostly_needed_nothing_is_copied(house: House) -> None:
    first = house.save(MemoryDisk.of(_data(1)))
    second = house.save(MemoryDisk.of(_data(1)[: 7 * CHUNK] + _data(2, 1)), first)
    house.repository.delete([first])
    before = _packs(house)
    assert house.repository.collect(garbage=0.5).condemned == 0
    assert _packs(house) == before
    _all_is_there(house, (second, _data(1)[: 7 * CHUNK] + _data(2, 1)))


def _increments(house: House, count: int) -> list[tuple[ManifestId, bytes]]:
    """Make so many backups of a disk of which one chunk is another each time."""
    disk, kept = MemoryDisk.of(_data(1)), list[tuple[ManifestId, bytes]]()
    for number in range(count):
        disk.write_at(number % 8 * CHUNK, _data(100 + number, 1))
        disk.flush()
        kept.append((house.save(disk, kept[-1][0] if kept else None), disk.data))
    return kept


def test_small_packs_are_put_together_when_there_are_enough(house: House) -> None:
    kept = _increments(house, 5)
    assert house.repository.collect(small=6).condemned == 0
    assert house.repository.collect(small=0).condemned == 0
    said = house.repository.collect(small=5, dry=True)
    assert (said.condemned, said.rewritten, said.merged, said.removed, len(_packs(house))) == (5, 5, 5, 0, 5)
    done = house.repository.collect(small=5)
    assert (done.condemned, done.rewritten, done.merged, done.removed, len(_packs(house))) == (5, 5, 5, 5, 1)
    assert done.garbage < 5 * 2048  # headers and tables of contents, no more
    _all_is_there(house, *kept)


@pytest.mark.parametrize("small", [1, 2, 3])
def test_what_was_put_together_is_not_taken_again(house: House, small: int) -> None:
    """A round after the other, however few are asked for; then more backups come."""
    kept = _increments(house, 4)
    assert house.repository.collect(small=small).merged == 4
    for _ in range(3):
        assert house.repository.collect(small=small).condemned == 0
    disk = MemoryDisk.of(_data(50))
    kept += [(house.save(disk), _data(50)) for _ in range(1)]
    done = house.repository.collect(small=small)
    assert done.merged == (2 if small < 3 else 0)
    assert house.repository.collect(small=small).condemned == 0
    _all_is_there(house, *kept)


def test_packs_that_are_full_of_tiny_things_are_not_small() -> None:
    """Putting them together would make as many of them again, each round."""
    assert is_small(1000, 10)
    assert not is_small(PACK_SIZE // 4, 10)
    assert not is_small(1000, PACK_THINGS // 4)


def test_one_round_puts_together_so_much_and_no_more() -> None:
    """The smallest first: that makes the most of them go."""
    packs = [Waste(bytes([live]), 0, live) for live in (7, 3, 9, 1, 5)]
    assert [each.live for each in worth_merging(packs, 5, most=10)] == [1, 3, 5]
    assert [each.live for each in worth_merging(packs, 5, most=8)] == [1, 3]
    assert worth_merging(packs, 6, most=100) == []


def test_small_packs_of_projects_are_put_together_apart(house: House) -> None:
    kept = _increments(house, 3)
    for seed in (1, 2):
        with house.repository.session(ProjectId("p2"), label="backup") as session:
            session.commit([session.save(MemoryDisk.of(_data(seed)), description=ABOUT)])
    before = _packs(house)
    assert house.repository.collect(small=3).merged == 3
    assert len(_packs(house) & before) == 2
    _all_is_there(house, *kept)


def test_small_packs_go_on_serving_who_was_at_work(house: House) -> None:
    """They are condemned, and kept until he has ended; nothing is stored twice but what he asked for."""
    kept = _increments(house, 3)
    with house.repository.session(PROJECT, label="restore", reads=[kept[0][0]]) as session:
        done = house.open().collect(small=2)
        assert (done.merged, done.removed, done.waiting) == (3, 0, (session.number,))
        target = MemoryDisk(8 * CHUNK)
        session.restore(kept[0][0], target)
        assert target.data == kept[0][1]
    assert house.open().collect(small=2).removed == 3
    _all_is_there(house, *kept)


def test_projects_are_collected_each_by_its_own_keys(house: House) -> None:
    with house.repository.session(ProjectId("p2"), label="backup") as session:
        (other,) = session.commit([session.save(MemoryDisk.of(_data(1)), description=ABOUT)])
    mine = house.save(MemoryDisk.of(_data(1)))
    house.repository.delete([mine])
    assert house.repository.collect().removed == 1
    target = MemoryDisk(8 * CHUNK)
    with house.repository.session(ProjectId("p2"), label="restore", reads=[other]) as session:
        session.restore(other, target)
    assert target.data == _data(1)


def test_nothing_is_removed_while_a_session_may_build_on_it(house: House) -> None:
    """It deduplicates against a pack that is condemned meanwhile: its commit is what keeps the bytes."""
    first = house.save(MemoryDisk.of(_data(1)))
    other = house.open()
    with other.session(PROJECT, label="backup") as session:
        house.repository.delete([first])
        assert house.repository.collect().later == 1  # somebody is at work: looked at again
        saved = session.save(MemoryDisk.of(_data(1)), description=ABOUT)
        (second,) = session.commit([saved])
    done = house.repository.collect()
    assert done.removed == 0
    _all_is_there(house, (second, _data(1)))


def test_a_condemned_pack_waits_for_those_who_were_at_work_and_is_copied_if_they_need_it(house: House) -> None:
    first = house.save(MemoryDisk.of(_data(1)))
    other = house.open()
    with other.session(PROJECT, label="backup") as session:
        house.repository.delete([first])
        _condemn_all(house)
        done = house.repository.collect()
        assert (done.removed, done.waiting) == (0, (session.number,))
        (second,) = session.commit([session.save(MemoryDisk.of(_data(1)), description=ABOUT)])
    done = house.repository.collect()
    assert done.removed == 1
    assert done.copied > 8 * CHUNK
    _all_is_there(house, (second, _data(1)))


def _condemn_all(house: House) -> None:
    for event in condemns([bytes.fromhex(name.rpartition("/")[2]) for name in _packs(house)]):
        house.repository.log.append(event)


def test_who_begins_after_it_was_condemned_stores_anew(house: House) -> None:
    first = house.save(MemoryDisk.of(_data(1)))
    _condemn_all(house)
    second, saved = house.saved(MemoryDisk.of(_data(1)))
    assert saved.count.new == 8 * CHUNK
    house.repository.delete([first])
    assert house.repository.collect().copied == 0
    _all_is_there(house, (second, _data(1)))


def test_what_is_read_is_not_removed(house: House) -> None:
    first = house.save(MemoryDisk.of(_data(1)))
    other, target = house.open(), MemoryDisk(8 * CHUNK)
    with other.session(PROJECT, label="restore", reads=[first]) as session:
        house.repository.delete([first])
        _condemn_all(house)
        house.repository.collect()
        session.restore(first, target)
    assert target.data == _data(1)
    house.repository.collect()
    assert _packs(house) == set()


def test_a_reader_whose_pack_was_rewritten_finds_the_copy(house: House) -> None:
    """It has looked everything up before; in the middle the pack goes."""
    first = house.save(MemoryDisk.of(_data(1)))
    other, target = house.open(), MemoryDisk(8 * CHUNK)
    with other.session(PROJECT, label="restore", reads=[first]) as session:
        session.verify(first)
        _condemn_all(house)
    with other.session(PROJECT, label="restore", reads=[first]) as session:
        session.verify(first)
        assert house.repository.collect().removed == 1
        session.restore(first, target)
    assert target.data == _data(1)


def test_a_session_that_was_ended_and_finds_nothing_is_told_so_not_of_damage(house: House) -> None:
    """Whoever tells its story begins anew, instead of calling a backup damaged that somebody has deleted."""
    first = house.save(MemoryDisk.of(_data(1)))
    other = house.open()

    def restore() -> None:
        with other.session(PROJECT, label="restore", reads=[first]) as session:
            house.repository.end(session.number)
            house.repository.delete([first])
            assert house.repository.collect().removed == 1
            session.restore(first, MemoryDisk(8 * CHUNK))

    with pytest.raises(Unavailable, match="was ended by somebody else"):
        restore()


def test_what_is_held_stays(house: House) -> None:
    first = house.save(MemoryDisk.of(_data(1)))
    house.repository.log.append(Hold(first, "somebody"))
    with pytest.raises(InvalidRequest, match="held by somebody"):
        house.repository.delete([first])
    assert house.repository.collect().condemned == 0
    _all_is_there(house, (first, _data(1)))


def test_a_pack_that_comes_back_is_condemned_again(house: House) -> None:
    """An abandoned put may still land, long after the pack was removed."""
    house.repository.delete([house.save(MemoryDisk.of(_data(1)))])
    (name,) = _packs(house)
    data = house.store.get(name)
    house.repository.collect()
    house.store.put(name, data)
    assert house.saved(MemoryDisk.of(_data(1)))[1].count.new == 8 * CHUNK  # it is not built upon
    assert house.repository.collect().removed == 1
    assert name not in _packs(house)


def test_what_a_slow_writer_says_of_removed_packs_goes_from_the_index(house: House) -> None:
    """Its session was ended before its index object came; nobody will ever need what that speaks of."""
    house.repository.delete([house.save(MemoryDisk.of(_data(1)))])
    ((name, _),) = house.store.list("index/")
    late = house.store.get(name)
    house.repository.collect()
    house.store.put(name, late)
    house.repository.collect()
    assert list(house.store.list("index/")) == []


def test_if_something_that_is_needed_is_missing_nothing_is_removed(house: House) -> None:
    kept, gone = house.save(MemoryDisk.of(_data(1))), house.save(MemoryDisk.of(_data(2)))
    house.repository.delete([gone])
    (needed,) = _packs_of(house, kept)
    house.store.delete(needed)
    before = _packs(house)
    with pytest.raises(Damaged):
        house.repository.collect()
    assert _packs(house) == before


def _packs_of(house: House, manifest: ManifestId) -> Iterator[str]:
    room = house.repository._room(PROJECT)
    room.index.refresh()
    entry = next(e for e in house.repository.manifests(PROJECT) if e.id == manifest)
    for place in room.index.find(entry.root):
        yield room.shelf.object_name(place.pack)


def test_a_lost_index_is_made_anew_before_anything_is_judged(house: House) -> None:
    kept, gone = house.save(MemoryDisk.of(_data(1))), house.save(MemoryDisk.of(_data(2)))
    for name, _ in list(house.store.list("index/")):
        house.store.delete(name)
    house.repository.delete([gone])
    assert house.open().collect().removed == 1
    _all_is_there(house, (kept, _data(1)))


def test_many_small_index_objects_become_one(house: House) -> None:
    kept = [(house.save(MemoryDisk.of(_data(seed, 1))), _data(seed, 1)) for seed in range(12)]
    assert len(list(house.store.list("index/"))) == 12
    gone = house.save(MemoryDisk.of(_data(99)))
    house.repository.delete([gone])
    house.repository.collect()
    assert len(list(house.store.list("index/"))) == 1
    _all_is_there(house, *kept)


class _CannotDelete(MemoryBlobs):
    def delete(self, name: str) -> None:
        raise Unavailable(f"the credentials do not allow to delete {name}")


def test_only_collection_needs_to_delete(folder: Path) -> None:
    house = House(folder, store=_CannotDelete(), threads=1)
    first = house.save(MemoryDisk.of(_data(1)))
    second = house.save(MemoryDisk.of(_data(2)), first)
    assert _bytes_of(house, first) == _data(1)
    house.repository.delete([first])
    with pytest.raises(Unavailable, match="do not allow"):
        house.repository.collect()
    assert _bytes_of(house, second) == _data(2)


def _scene(folder: Path) -> tuple[House, list[tuple[ManifestId, bytes]]]:
    """Return a repository with garbage of every kind, and what must stay."""
    house = House(folder, threads=1)
    first = house.save(MemoryDisk.of(_data(1)))
    second = house.save(MemoryDisk.of(_data(1)[:CHUNK] + _data(2, 7)), first)
    third = house.save(MemoryDisk.of(_data(3)))
    house.repository.delete([first, third])
    return house, [(second, _data(1)[:CHUNK] + _data(2, 7))]


def test_the_power_may_go_at_every_put_and_delete(folder: Path) -> None:
    """Whatever it was, what is kept restores at once, and the next round brings it to an end."""
    for cut_at in range(1, 200):
        (folder / str(cut_at)).mkdir()
        house, kept = _scene(folder / str(cut_at))
        power = Power(cut_at)
        try:
            house.open(store=PoweredStore(house.store, power)).collect()  # type: ignore[arg-type]
        except PowerCut:
            pass
        else:
            assert cut_at > 12
            return
        for manifest, data in kept:
            assert _bytes_of(house, manifest) == data
        house.open().collect()
        _all_is_there(house, *kept)
        assert len(_packs(house)) == 2
    pytest.fail("a small collection does more than 200 things")


@pytest.mark.parametrize("error", [lambda: Unavailable("a fault"), lambda: Damaged("a fault")], ids=["away", "damaged"])
def test_any_call_to_the_store_may_fail(folder: Path, error: Callable[[], Exception]) -> None:
    for at in range(1, 400):
        (folder / str(at)).mkdir()
        house, kept = _scene(folder / str(at))
        power, calls = Power(), [0]

        def fault(what: str, at: int = at, calls: list[int] = calls) -> None:
            calls[0] += 1
            if calls[0] == at:
                raise error()

        repository = house.open(store=PoweredStore(house.store, power))  # type: ignore[arg-type]
        power.fault = fault
        try:
            repository.collect()
        except (Unavailable, Damaged):
            pass
        power.fault = lambda what: None
        for manifest, data in kept:
            assert _bytes_of(house, manifest) == data
        house.open().collect()
        _all_is_there(house, *kept)
        if calls[0] < at:
            return
    pytest.fail("a small collection makes more than 400 calls")


def test_it_can_be_interrupted_anywhere_and_goes_on(folder: Path) -> None:
    class Interrupted(Exception):
        pass

    house, kept = _scene(folder)
    most = 1
    while most < 500:
        most += 1 + most // 10
        left = [most]

        def check(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted

        try:
            house.open().collect(check=check)
        except Interrupted:
            assert _bytes_of(house, kept[0][0]) == kept[0][1]
        else:
            _all_is_there(house, *kept)
            return
    pytest.fail("it never came to its end")


def test_two_collect_at_once(folder: Path) -> None:
    """Between any two calls of one to the store, the other does a whole round."""
    for at in range(1, 400):
        (folder / str(at)).mkdir()
        house, kept = _scene(folder / str(at))
        power, calls = Power(), [0]
        other: Repository = house.open()

        def between(what: str, at: int = at, calls: list[int] = calls, other: Repository = other) -> None:
            calls[0] += 1
            if calls[0] == at:
                other.collect()

        repository = house.open(store=PoweredStore(house.store, power))  # type: ignore[arg-type]
        power.fault = between
        repository.collect()
        for manifest, data in kept:
            assert _bytes_of(house, manifest) == data
        house.open().collect()  # what both have copied is there twice
        _all_is_there(house, *kept)
        if calls[0] < at:
            return
    pytest.fail("a small collection makes more than 400 calls")


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("small", [0, 2])
def test_what_was_healed_stays_so(house: House, damaged: int, small: int) -> None:
    """A thing stands twice and one place is damaged: whichever counts, the other goes only if that one opens.

    Also where both packs are condemned together, since they are small.
    """
    data, more = _data(7), _data(8, 2)
    first, second = house.open(), house.open()
    with first.session(PROJECT, label="a") as one, second.session(PROJECT, label="b") as two:
        saved = one.save(MemoryDisk.of(data), description=ABOUT)
        also = two.save(MemoryDisk.of(data + more), description=ABOUT)
        kept = [(one.commit([saved])[0], data), (two.commit([also])[0], data + more)]
    bad = sorted(_packs(house))[damaged]
    whole = bytearray(house.store.get(bad))
    whole[len(whole) // 2] ^= 1
    house.store.delete(bad)
    house.store.put(bad, bytes(whole))
    for _ in range(4):
        house.open().collect(small=small)
        assert [_bytes_of(house, manifest) for manifest, _ in kept] == [wanted for _, wanted in kept]


def test_one_rotten_chunk_keeps_its_pack_and_holds_nobody_up(house: House) -> None:
    """It is nowhere else, so its pack stays and is told of; all else goes, and the store does not grow by trying."""
    disks = [MemoryDisk.of(_data(seed)) for seed in range(1, 5)]
    kept = [(house.save(disk), disk.data) for disk in disks]
    (bad,) = _packs_of(house, kept[1][0])
    whole = bytearray(house.store.get(bad))
    whole[len(whole) // 2] ^= 1
    house.store.delete(bad)
    house.store.put(bad, bytes(whole))
    sizes = []
    for seed in range(10, 14):
        house.repository.delete([house.save(MemoryDisk.of(_data(seed)))])
        with pytest.raises(Damaged, match="does not open in 1 of the packs that were to go"):
            house.open().collect(small=2)
        assert bad in _packs(house)
        sizes.append((len(_packs(house)), sum(size for _, size in house.store.list("packs/"))))
    assert len(set(sizes)) == 1, sizes
    for manifest, data in (kept[0], *kept[2:]):
        assert _bytes_of(house, manifest) == data
    repository = house.open(fresh_cache=False)
    with pytest.raises(Damaged):
        house.restore(kept[1][0], MemoryDisk(8 * CHUNK), repository=repository)
    house.save(disks[1], repository=repository)  # what is known to be lost is stored again
    for _ in range(2):
        house.open().collect(small=2)
    assert bad not in _packs(house)
    for manifest, data in kept:
        assert _bytes_of(house, manifest) == data


def test_what_somebody_else_put_beside_the_packs_is_left_alone(house: House) -> None:
    kept, gone = house.save(MemoryDisk.of(_data(1))), house.save(MemoryDisk.of(_data(2)))
    house.repository.delete([gone])
    strays = ["packs/notes", "packs/a/b/notes", f"packs/notes-{'0' * 64}"]
    for name in strays:
        house.store.put(name, b"x")
    assert house.open().collect().removed == 1
    assert set(strays) <= _packs(house)
    assert _bytes_of(house, kept) == _data(1)
