"""The index: looked up without being loaded, made again when it is lost, and never believed too much."""

import os
import random
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import House

from restead.domain.errors import Damaged
from restead.repository.cache import IndexCache
from restead.repository.chunk import Form
from restead.repository.index import decode_run, encode_run
from restead.repository.pack import Place
from restead.repository.runs import FENCE, BrokenRun, Hint, Run, keys_of, merged, write_run


def hints(count: int, seed: int = 1) -> list[Hint]:
    source = random.Random(seed)
    packs = [source.randbytes(32) for _ in range(count // 200 + 1)]
    return [
        Hint(source.randbytes(32), Place(source.choice(packs), 48 + n, 100, 4096, Form(n % 2))) for n in range(count)
    ]


def run_of(folder: Path, found: list[Hint], *, fence_keys: int = FENCE) -> Run:
    path = folder / f"run-{os.urandom(4).hex()}"
    count = write_run(path, sorted(hint.encode() for hint in found), fence_keys=fence_keys)
    return Run(path, count, fence_keys=fence_keys)


def served(objects: dict[str, list[Hint]], names: Sequence[str]) -> Iterator[tuple[str, list[bytes] | None]]:
    """Yield what a cache asks for; asking for what is not there fails the test."""
    for name in names:
        yield name, sorted(hint.encode() for hint in objects[name])


@pytest.mark.parametrize("count", [0, 1, 6, 7, 12, 509, 510, 511, 1020, 1021, 5000])
def test_every_name_of_a_run_is_found_and_no_other(tmp_path: Path, count: int) -> None:
    found = hints(count)
    run = run_of(tmp_path, found)
    for hint in found:
        assert [hint.place] == run.find(hint.name)
    for name in [bytes(32), b"\xff" * 32, *(hint.name for hint in hints(200, seed=2))]:
        assert run.find(name) == []


def test_names_that_are_not_evenly_spread_are_found_too(tmp_path: Path) -> None:
    """An owner of the key could make such names; it must cost time at most."""
    crowd = [Hint(bytes(20) + n.to_bytes(12, "big"), Place(bytes(32), n, 100, 4096, Form.RAW)) for n in range(3000)]
    crowd += [Hint(b"\xff" * 20 + n.to_bytes(12, "big"), Place(bytes(32), n, 100, 4096, Form.RAW)) for n in range(300)]
    run = run_of(tmp_path, crowd)
    for hint in crowd[::7]:
        assert [hint.place] == run.find(hint.name)
    assert run.find(b"\x80" * 32) == []


def test_a_name_that_is_stored_often_has_all_its_places(tmp_path: Path) -> None:
    """More places than two groups of entries have room for."""
    (one,) = hints(1)
    places = [Place(n.to_bytes(2, "big") * 16, 48, 100, 4096, Form.ZSTD) for n in range(1300)]
    run = run_of(tmp_path, [Hint(one.name, place) for place in places] + hints(500, seed=3))
    assert places == run.find(one.name)


@pytest.mark.parametrize(
    ("count", "fence_keys"),
    [(0, FENCE), (1, FENCE), (6, 2), (7, 2), (510, 2), (511, 2), (5000, 2), (5000, 4), (5000, FENCE), (20_000, FENCE)],
)
def test_names_looked_up_together_have_the_places_they_have_alone(tmp_path: Path, count: int, fence_keys: int) -> None:
    """Dense and sparse batches, names that are there, that are not, that are stored often, and that crowd together."""
    source = random.Random(count)
    everything = hints(count)
    often = Hint(b"\x70" * 32, everything[0].place) if everything else None
    if often is not None:
        everything += [often._replace(place=often.place._replace(offset=at)) for at in range(48, 1048)]
        everything += [Hint(bytes(20) + n.to_bytes(12, "big"), often.place) for n in range(300)]
    run = run_of(tmp_path, everything, fence_keys=fence_keys)
    known = sorted({hint.name for hint in everything})
    for size in (1, 7, 300, 10_000):
        some = source.sample(known, min(size, len(known))) + [source.randbytes(32) for _ in range(size // 3)]
        some += [b"\x70" * 32, bytes(32), b"\xff" * 32]
        names = sorted(set(some))
        alone = [(name, place) for name in names for place in run.find(name)]
        assert alone == list(run.find_many(names, keys_of(names)))


def test_a_sorted_batch_reads_most_blocks_once(tmp_path: Path) -> None:
    found = hints(60_000)
    run = run_of(tmp_path, found)
    reads: list[int] = []
    really = run._read

    def counted(start: int, size: int):  # type: ignore[no-untyped-def]
        reads.append(start)
        return really(start, size)

    run._read = counted  # type: ignore[method-assign]
    names = sorted(hint.name for hint in random.Random(5).sample(found, 3000))
    assert len(list(run.find_many(names, keys_of(names)))) == 3000
    assert len(reads) < 1.3 * len(set(reads))


def test_a_million_names_are_looked_up_without_being_loaded(tmp_path: Path) -> None:
    """Two reads of 4 KiB for each look-up, and no memory that grows with the index."""
    count = 1_000_000
    tail = bytes(32) + Place(b"", 48, 100, 4096, Form.RAW)[1].to_bytes(4, "big") + bytes(8) + b"\0"
    names = sorted(os.urandom(32) for _ in range(count))
    wanted = random.Random(5).sample(names, 2000)
    path = tmp_path / "run"
    run = Run(path, write_run(path, (name + tail for name in names)))
    del names
    reads = 0
    really = run._read

    def counted(start: int, size: int):  # type: ignore[no-untyped-def]
        nonlocal reads
        reads += 1
        return really(start, size)

    run._read = counted  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        assert all(len(run.find(name)) == 1 for name in wanted)
        assert not any(run.find(os.urandom(32)) for _ in range(2000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20, peak
    assert reads / 4000 < 2.5, reads  # keys, and for those that are there the entry


@pytest.mark.parametrize("count", [0, 1, 1019, 1020, 1021, 1530, 2040, 2041, 4080, 4081, 9000])
def test_a_fence_of_two_keys_leads_to_every_entry(tmp_path: Path, count: int) -> None:
    """It is thinned while the run is written; runs are of 0 to 18 groups of 510 entries here."""
    found = hints(count)
    run = run_of(tmp_path, found, fence_keys=2)
    assert all([hint.place] == run.find(hint.name) for hint in found)
    assert sorted(hint.encode() for hint in found) == list(run.records())
    assert not any(run.find(hint.name) for hint in hints(200, seed=2))


@pytest.mark.parametrize("where", [0, 1, 4095, 4096, 4500, 5000, -5, -1])
def test_a_broken_block_of_the_cache_is_seen(tmp_path: Path, where: int) -> None:
    """Keys, entries, their check sums, the fence."""
    found = hints(300)
    run = run_of(tmp_path, found)
    data = bytearray(run.path.read_bytes())
    data[where] ^= 1
    run.path.write_bytes(data)
    with pytest.raises(BrokenRun):
        [Run(run.path, 300).find(hint.name) for hint in found]


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: bytes(len(data))])
def test_a_run_of_another_length_or_of_zeroes_is_seen(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """As a power cut may leave it: the cache is not flushed."""
    found = hints(300)
    run = run_of(tmp_path, found)
    run.path.write_bytes(spoil(run.path.read_bytes()))
    with pytest.raises(BrokenRun):
        Run(run.path, 300).find(found[0].name)


def test_a_place_is_found_without_asking_runs_that_are_shorter(tmp_path: Path) -> None:
    """A name that several runs know has the places that the longest of them knows; alone it has all of them."""
    cache = IndexCache(tmp_path / "cache")
    long = hints(100_000, seed=1)
    again = [hint._replace(place=hint.place._replace(pack=b"2" * 32)) for hint in long[:50]]
    new = hints(50, seed=2)
    cache.add(long, "index/1")
    cache.add(again + new, "index/2")
    names = sorted(hint.name for hint in long[:50] + new)
    assert sorted((hint.name, hint.place) for hint in long[:50] + new) == sorted(cache.find_many(names))
    assert all(cache.find(hint.name) == [hint.place, first.place] for hint, first in zip(again, long, strict=False))


@pytest.mark.parametrize("streams", [[], [[]], [[["b"], ["c", "d"]], [], [["a", "b", "e"], ["f"]], [["b", "b"]]]])
def test_sorted_lists_are_merged_with_everything_that_is_there_twice(streams: list[list[list[str]]]) -> None:
    as_bytes = [[[each.encode() for each in part] for part in stream] for stream in streams]
    every = sorted(each for stream in as_bytes for part in stream for each in part)
    assert every == [each for part in merged(map(iter, as_bytes)) for each in part]


def test_an_index_object_says_what_was_put_into_it() -> None:
    found = hints(1000)
    assert sorted(found) == list(decode_run(encode_run(found), "index/x"))


def test_an_index_object_that_is_not_sorted_is_damaged() -> None:
    """What is looked up by halving would not be found in it."""
    plain = bytearray(encode_run(hints(10)))
    plain[-49:], plain[-98:-49] = plain[-98:-49], plain[-49:]
    with pytest.raises(Damaged, match="index/x is not sorted"):
        list(decode_run(bytes(plain), "index/x"))


@pytest.mark.parametrize("where", [-1, -17])
def test_an_index_object_with_an_unknown_form_or_pack_is_damaged(where: int) -> None:
    plain = bytearray(encode_run(hints(10)))
    plain[where] = 77
    with pytest.raises(Damaged, match="index/x has"):
        list(decode_run(bytes(plain), "index/x"))


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 100, -1])
def test_a_cut_index_object_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged, match="index/x"):
        list(decode_run(encode_run(hints(10))[:cut], "index/x"))


def test_merged_runs_hold_everything_and_stay_few(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path / "cache")
    everything: list[Hint] = []
    for n in range(60):
        part = hints(random.Random(n).randint(1, 300), seed=100 + n)
        cache.add(part, f"index/{n}")
        everything += part
    assert all([hint.place] == cache.find(hint.name) for hint in everything)
    assert len(everything) == cache.entries
    assert len(list((tmp_path / "cache").glob("run-*"))) == 1  # as long as all are small


def test_many_small_index_objects_are_fetched_into_one_run(tmp_path: Path) -> None:
    """A run for each, and merging them again and again, made opening a repository with a cold cache slow."""
    objects = {f"index/{n}": hints(20, seed=n) for n in range(50)}
    cache, other = IndexCache(tmp_path), IndexCache(tmp_path)
    assert cache.match(frozenset(objects), lambda names: served(objects, names))
    assert len(list(tmp_path.glob("run-*"))) == 1
    assert not other.match(frozenset({*objects, "index/gone"}), lambda names: ((name, None) for name in names))
    for one in (cache, other):
        assert all([hint.place] == one.find(hint.name) for part in objects.values() for hint in part)


def test_what_is_held_already_is_not_looked_for_again(tmp_path: Path) -> None:
    """Each session looks at the index: if nothing is new in it, the cache is not even locked."""
    cache, part = IndexCache(tmp_path / "cache"), hints(20)
    cache.add(part, "index/1")
    shutil.rmtree(tmp_path / "cache")
    assert cache.match(frozenset({"index/1"}), lambda names: pytest.fail(f"{names} were fetched again"))
    assert [part[0].place] == cache.find(part[0].name)
    assert not (tmp_path / "cache").exists()
    both = {"index/1": part, "index/2": (more := hints(20, seed=2))}  # the folder was gone, and all of it with it
    assert cache.match(frozenset({"index/1", "index/2"}), lambda names: served(both, names))
    assert all([hint.place] == cache.find(hint.name) for hint in part + more)


def test_two_openings_of_one_cache_see_each_other(tmp_path: Path) -> None:
    one, other = IndexCache(tmp_path), IndexCache(tmp_path)
    first, second = hints(100, seed=8), hints(100, seed=9)
    one.add(first, "index/1")
    other.add(second, "index/2")
    one.match(frozenset({"index/1", "index/2"}), lambda names: served({}, names))
    assert all([hint.place] == one.find(hint.name) for hint in first + second)


def test_an_index_object_that_is_no_longer_listed_is_forgotten(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path)
    old, new = hints(100, seed=8), hints(100, seed=9)
    cache.add(old, "index/1")
    cache.match(frozenset({"index/2"}), lambda names: served({"index/2": new}, names))
    assert cache.find(old[0].name) == []
    assert [new[0].place] == cache.find(new[0].name)


def test_a_cache_that_is_rubbish_is_made_again(tmp_path: Path) -> None:
    """The cache may be lost, cut or overwritten at any time: backups and restores go on.

    But for what this machine has seen of the log and the keyring: what is no such note any more is damage.
    """
    house = House(tmp_path)
    disk = MemoryDisk.of(random.Random(1).randbytes(200_000))
    first = house.save(disk)
    for number, spoil in enumerate((b"", b"rubbish", b"{}", None)):
        for path in (tmp_path / "cache-1").rglob("*"):
            if path.is_file() and path.suffix not in (".digest", ".keyring"):
                path.write_bytes(os.urandom(path.stat().st_size) if spoil is None else spoil)
        repository = house.open(fresh_cache=False)
        disk.write_at(number * 5000, b"again")
        again = house.save(disk, first, repository=repository)
        target = MemoryDisk(disk.size)
        house.restore(again, target, repository=repository)
        assert disk.data == target.data


def test_a_lost_index_is_made_again_from_the_packs(tmp_path: Path) -> None:
    """No index object is left; the packs' tables of contents know everything, and new index objects are stored."""
    house = House(tmp_path)
    disk = MemoryDisk.of(random.Random(1).randbytes(300_000))
    first = house.save(disk)
    disk.write_at(100_000, b"second day" * 1000)
    second = house.save(disk, first)
    for name, _ in list(house.store.list("index/")):
        house.store.delete(name)
    target = MemoryDisk(disk.size)
    house.restore(second, target, repository=house.open())
    assert disk.data == target.data
    assert any(house.store.list("index/"))
    saved = house.saved(disk, repository=house.open())[1]
    assert saved.count.new == 0


def test_a_strangers_object_among_the_packs_keeps_nobody_from_reading(tmp_path: Path) -> None:
    house = House(tmp_path)
    backup = house.save(MemoryDisk.of(b"data" * 5000))
    ((name, _),) = house.store.list("index/")
    house.store.delete(name)
    stranger = f"packs/{name.split('/')[1]}/notes.txt"
    house.store.put(stranger, b"remember the milk")
    target = MemoryDisk(20_000)
    house.restore(backup, target, repository=house.open())
    assert target.data == b"data" * 5000


def test_what_is_known_is_not_stored_again(tmp_path: Path) -> None:
    """Without a parent the index recognises every chunk; another project's are nobody's business."""
    house = House(tmp_path)
    data = random.Random(1).randbytes(1_000_000)
    first = house.saved(MemoryDisk.of(data))[1]
    again = house.saved(MemoryDisk.of(data), repository=house.open())[1]
    assert (first.count.new, again.count.new) == (1_000_000, 0)
    assert again.count.stored < 1000


def test_an_unchanged_disk_with_a_parent_costs_no_look_up(tmp_path: Path) -> None:
    house = House(tmp_path)
    disk = MemoryDisk.of(random.Random(1).randbytes(2_600_000))  # more than one unit in a leaf page
    first = house.save(disk)
    looked: list[bytes] = []
    find = IndexCache.find

    def noted(cache: IndexCache, name: bytes) -> list[Place]:
        looked.append(name)
        return find(cache, name)

    IndexCache.find = noted  # type: ignore[method-assign]
    try:
        house.save(disk, first)
    finally:
        IndexCache.find = find  # type: ignore[method-assign]
    assert len(looked) < 10, len(looked)  # root and pages of the parent, the new root
