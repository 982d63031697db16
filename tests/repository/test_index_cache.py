"""The cache of the index is filled: many objects under way, few writings of its state, nothing done twice."""

import json
import os
import random
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from threading import Barrier, Lock

import pytest
from tests.repository.house import PROJECT, House
from tests.repository.test_index import hints

from restead.domain.errors import Damaged, NotFound
from restead.repository import Repository, Window
from restead.repository.ahead import fetched_ahead
from restead.repository.cache import IndexCache
from restead.repository.runs import Hint

Objects = dict[str, list[Hint]]


class Fetched:
    """Objects of a store that notes what it is asked for."""

    def __init__(self, objects: Objects, gone: Sequence[str] = (), broken: Sequence[str] = ()) -> None:
        self.objects = objects
        self.gone = gone
        self.broken = broken
        self.asked: list[str] = []

    def __call__(self, names: Sequence[str]) -> Iterator[tuple[str, list[bytes] | None]]:
        for name in names:
            if name in self.broken:
                raise Damaged(f"{name} is damaged")
            self.asked.append(name)
            yield name, None if name in self.gone else sorted(hint.encode() for hint in self.objects[name])


def some_objects(number: int, entries: int = 20) -> Objects:
    return {f"index/{at:04}": hints(entries, seed=at) for at in range(number)}


def require_all(cache: IndexCache, objects: Objects) -> None:
    assert all(cache.find(hint.name) == [hint.place] for each in objects.values() for hint in each)
    assert cache.entries == sum(map(len, objects.values()))


class Writings:
    """Counts the writings of a cache's state by its inode, which a replacement changes."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state.json"
        self._seen = -1
        self.count = 0

    def look(self) -> None:
        inode = self._state.stat().st_mtime_ns if self._state.exists() else -1
        self.count += inode != self._seen
        self._seen = inode


@pytest.mark.parametrize("number", [1, 63, 64, 65, 200])
def test_a_cold_cache_holds_everything_in_one_run(tmp_path: Path, number: int) -> None:
    objects = some_objects(number)
    cache = IndexCache(tmp_path)
    assert cache.match(frozenset(objects), Fetched(objects))
    require_all(cache, objects)
    assert len(list(tmp_path.glob("run-*"))) == 1
    require_all(_opened(tmp_path, objects), objects)


def test_its_state_is_written_once_a_second_at_most(tmp_path: Path) -> None:
    """A clock that goes on by a tenth of a second with each object: 50 objects are 5 seconds."""
    objects = some_objects(50)
    ticks = count()
    cache = IndexCache(tmp_path, clock=lambda: next(ticks) / 20)  # asked twice for an object that is saved after it
    writings = Writings(tmp_path)

    def fetch(names: Sequence[str]) -> Iterator[tuple[str, list[bytes] | None]]:
        for each in Fetched(objects)(names):
            writings.look()
            yield each

    cache.match(frozenset(objects), fetch)
    assert writings.count <= 4, writings.count
    require_all(cache, objects)


def test_what_was_fetched_before_an_error_is_not_fetched_again(tmp_path: Path) -> None:
    objects = some_objects(10)
    cache = IndexCache(tmp_path)
    with pytest.raises(Damaged, match="index/0006"):
        cache.match(frozenset(objects), Fetched(objects, broken=["index/0006"]))
    again = Fetched(objects)
    assert IndexCache(tmp_path).match(frozenset(objects), again)
    assert again.asked == [f"index/000{at}" for at in (6, 7, 8, 9)]
    require_all(_opened(tmp_path, objects), objects)


def test_a_crash_between_two_writings_costs_what_came_since(tmp_path: Path) -> None:
    """Whatever a killed process leaves, a run that is not named among it, is swept, and all is found in the end."""
    objects = some_objects(30)
    ticks = count()
    left: list[tuple[str, bytes]] = []

    def fetch(names: Sequence[str]) -> Iterator[tuple[str, list[bytes] | None]]:
        for each in Fetched(objects)(names):
            if each[0] == "index/0021":
                left.extend((path.name, path.read_bytes()) for path in tmp_path.iterdir())
            yield each

    IndexCache(tmp_path, clock=lambda: next(ticks) / 8).match(frozenset(objects), fetch)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name, data in left:
        (crashed / name).write_bytes(data)
    named = json.loads((crashed / "state.json").read_bytes())
    assert 0 < len(named["objects"]) < 21
    again = Fetched(objects)
    assert IndexCache(crashed).match(frozenset(objects), again)
    assert set(again.asked) == set(objects) - set(named["objects"])
    require_all(_opened(crashed, objects), objects)
    assert len(list(crashed.glob("run-*"))) == 1


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    objects = some_objects(5)
    cache = IndexCache(tmp_path)
    assert not cache.match(frozenset(objects), Fetched(objects, gone=["index/0003"]))
    del objects["index/0003"]
    require_all(cache, objects)


def test_an_index_is_fetched_many_objects_at_a_time_and_applied_in_order(tmp_path: Path) -> None:
    """Three requests meet at a barrier: they are under way together.  One more than three never is."""
    house = House(tmp_path)
    store = house.store
    names: dict[bytes, Hint] = {}
    with house.repository.session(PROJECT, label="many") as session:
        index = session._room.index
        for seed in range(9):
            part = hints(30, seed=seed)
            index.add(part)
            names.update((hint.name, hint) for hint in part)
    meeting, lock = Barrier(3, timeout=120), Lock()
    under_way: list[int] = [0, 0]
    get = store.get

    def slow(name: str) -> bytes:
        if not name.startswith("index/"):
            return get(name)
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
        meeting.wait()
        found = get(name)
        with lock:
            under_way[0] -= 1
        return found

    store.get = slow  # type: ignore[method-assign]
    repository = Repository.open(store, house.key, cache=tmp_path / "cold", window=Window(ahead=3))
    with repository.session(PROJECT, label="again") as session:
        assert all(session._room.index.find(name) == [hint.place] for name, hint in names.items())
    assert under_way[1] == 3


@pytest.mark.parametrize(("count", "budget", "most"), [(0, 0, 1), (1, 99, 1), (4, 0, 1), (4, 25, 2), (4, 1000, 4)])
def test_things_fetched_ahead_come_in_order_and_no_more_than_asked_for(count: int, budget: int, most: int) -> None:
    """Sizes are 10 each.  Counted is what was asked for and not handed over, or handed over and still worked on."""
    asked: list[int] = []

    def fetch(item: int) -> str:
        asked.append(item)
        return f"={item}"

    taken = 0
    for item, found in fetched_ahead([(n, 10) for n in range(20)], fetch, count=count, budget=budget):
        assert (item, found) == (taken, f"={item}")
        assert len(asked) - taken <= most
        taken += 1
    assert taken == 20
    assert sorted(asked) == list(range(20))


def test_what_fetching_raises_is_raised_when_its_turn_comes() -> None:
    def fetch(item: int) -> int:
        if item == 2:
            raise NotFound("2")
        return item

    seen: list[int] = []
    with pytest.raises(NotFound, match="2"):
        seen.extend(found for _, found in fetched_ahead([(n, 1) for n in range(5)], fetch, count=5, budget=5))
    assert seen == [] or seen == [0, 1]


def test_merges_keep_everything_whatever_the_lengths(tmp_path: Path) -> None:
    """Lengths beyond those that always become one run, in any order."""
    chance = random.Random(4)
    cache = IndexCache(tmp_path)
    every: dict[str, int] = {}
    for at in range(6):
        entries = chance.choice([1, 1000, 70_000, 40_000])
        part = [Hint(os.urandom(32), hint.place) for hint in hints(1)] * entries
        cache.add(part, f"index/{at}")
        every[f"index/{at}"] = entries
        counts = [run.count for run in cache._runs]
        assert sum(counts) == sum(every.values())
        assert counts == sorted(counts, reverse=True)
        assert len(counts) <= 3


def _opened(folder: Path, objects: Objects) -> IndexCache:
    """Return another opening of a cache that must hold these already."""
    cache = IndexCache(folder)
    assert cache.match(frozenset(objects), Fetched({}))
    return cache
