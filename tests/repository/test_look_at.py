"""Verification with several threads: objects are looked at together, done in order, and ended as one."""

import random
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.harm import flip
from tests.repository.house import House

from restead.domain.errors import Damaged, NotFound
from restead.domain.verification import Depth
from restead.repository import Journal, scrub
from restead.repository.scrub import Spend, look_at, spend_freely, tell_nobody

SIZES = [(f"packs/{at:02}", 10) for at in range(20)]


def every(look: Callable[[str, int, Spend], None], **more: object) -> list[str]:
    asked: dict[str, object] = {
        "spend": spend_freely, "journal": Journal(), "told": tell_nobody, "threads": 4, **more,
    }  # fmt: skip
    return [error.message for error in look_at(SIZES, look, **asked)]  # type: ignore[arg-type]


def go_on(spend: Spend) -> None:
    """Work until it is ended."""
    while True:
        spend(1)


@pytest.mark.parametrize("threads", [1, 2, 4, 50])
def test_all_are_looked_at_and_told_of_in_order(threads: int) -> None:
    looked: list[str] = []
    told: list[tuple[int, int]] = []
    journal = Journal()

    def look(name: str, size: int, spend: Spend) -> None:
        looked.append(name)
        spend(size)
        if name.endswith("7"):
            raise Damaged(f"{name} is damaged")
        if name.endswith("8"):
            raise NotFound(name)

    found = every(look, threads=threads, journal=journal, told=lambda done, total: told.append((done, total)))
    assert found == ["packs/07 is damaged", "packs/17 is damaged"]
    assert sorted(looked) == [name for name, _ in SIZES]
    assert told == [(10 * (at + 1), 200) for at in range(20)]
    assert (journal.last, journal.read, journal.objects) == ("packs/19", 200, 20)


def test_as_many_as_there_are_threads_are_looked_at_together() -> None:
    """Four that wait for each other; with fewer at once the barrier would break."""
    barrier = Barrier(4, timeout=120)

    def look(name: str, size: int, spend: Spend) -> None:
        barrier.wait()

    assert every(look) == []


def test_what_one_is_ended_by_ends_all_at_their_next_piece() -> None:
    """The third runs out of patience while the first is slow: the caller sees why, and the first is done as well."""
    third, ended = Event(), list[str]()
    journal = Journal()

    def spend(length: int) -> None:
        if length == 3:
            third.set()
            raise InterruptedError("enough")

    def look(name: str, size: int, spend: Spend) -> None:
        if name == "packs/01":
            assert third.wait(120)
            try:
                go_on(spend)
            finally:
                ended.append(name)
        if name == "packs/02":
            spend(3)

    with pytest.raises(InterruptedError, match="enough"):
        every(look, spend=spend, journal=journal)
    assert ended == ["packs/01"]
    assert journal.last == "packs/00", "what was ended is not done, nor what comes after it"


def test_a_caller_who_leaves_ends_what_is_under_way() -> None:
    left, begun = Event(), Event()

    def look(name: str, size: int, spend: Spend) -> None:
        if name == "packs/01":
            begun.set()
            assert left.wait(120)
            go_on(spend)

    def told(done: int, total: int) -> None:
        assert begun.wait(120)
        left.set()
        raise KeyboardInterrupt

    looks = look_at(SIZES, look, spend=spend_freely, journal=(journal := Journal()), told=told, threads=2)
    with pytest.raises(KeyboardInterrupt):
        list(looks)  # it would wait for the second for ever
    assert journal.last == "packs/00"


def test_an_interrupted_look_goes_on_where_it_was() -> None:
    """Whatever the threads had begun, every object is looked at to its end, once or again."""
    chance = random.Random(3)
    journal, whole = Journal(), set[str]()
    for _ in range(200):
        left = chance.randrange(1, 12)

        def spend(length: int) -> None:
            nonlocal left
            left -= length
            if left < 0:
                raise InterruptedError

        def look(name: str, size: int, spend: Spend) -> None:
            spend(1)
            whole.add(name)

        try:
            every(look, spend=spend, journal=journal)
        except InterruptedError:
            assert {name for name, _ in SIZES if journal.has(name)} <= whole
            continue
        break
    assert whole == {name for name, _ in SIZES}
    assert journal.objects == 20


@pytest.mark.parametrize("depth", list(Depth))
def test_many_threads_find_what_one_finds(tmp_path: Path, depth: Depth) -> None:
    """Some fifteen packs, several of them damaged in several ways."""
    house = House(tmp_path, threads=4)
    for seed in range(5):
        house.save(MemoryDisk.of(random.Random(seed).randbytes(90_000)))
    packs = sorted(house.store.list("packs/"))
    for name, size in packs[::3]:
        flip(house.store, name, size // 2)
    flip(house.store, packs[1][0], packs[1][1] - 3)
    alone = House.open(house)
    alone._window = type(house.window)(1, 1)
    told: list[int] = []
    together = house.open().inspect(depth, told=lambda done, _: told.append(done))
    assert alone.inspect(depth) == together
    assert told == sorted(told)
    assert len(told) == len(packs)
    if depth is not Depth.STRUCTURE:
        assert {name for name, _ in [*packs[::3], packs[1]]} == {each.object for each in together.findings}
    assert {str(each) for each in scrub(house.store)} == {str(each) for each in scrub(house.store, threads=4)}
