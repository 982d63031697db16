"""The walk of two page trees: all of both, in order, and nothing read where they are the same."""

import random
from datetime import UTC, datetime

import pytest

from restead.repository.chunk import NAME_SIZE, ZERO, Names
from restead.repository.difference import Change, Same, changes, difference
from restead.repository.manifest import DiskDescription, Root
from restead.repository.tree import FANOUT, Tree, TreeBuilder

ABOUT = DiskDescription("data", datetime(2026, 11, 23, tzinfo=UTC), "offline")
NAMES = Names(bytes(32))


class Trees:
    """Makes page trees, and counts the pages that are read."""

    def __init__(self) -> None:
        self._pages: dict[bytes, bytes] = {}
        self.reads = 0

    def tree(self, chunks: int, names: dict[int, bytes]) -> Tree:
        """Return the tree of a disk of so many 512-byte chunks; those without a name are zero."""
        builder = TreeBuilder(chunks, NAMES)
        for page in range(-(-chunks // FANOUT)):
            count = min(FANOUT, chunks - page * FANOUT)
            entries = b"".join(names.get(page * FANOUT + at, ZERO) for at in range(count))
            builder.put(page * FANOUT, entries, self._keep)
        return Tree(Root(chunks * 512, 512, builder.top, ABOUT), self._read)

    def _keep(self, level: int, index: int, name: bytes, page: bytes) -> None:
        self._pages[name] = page

    def _read(self, name: bytes) -> bytes:
        self.reads += 1
        return self._pages[name]


def name(number: int) -> bytes:
    return number.to_bytes(NAME_SIZE, "big")


@pytest.mark.parametrize("seed", range(40))
def test_the_walk_tells_every_chunk_of_disks_of_any_two_sizes(seed: int) -> None:
    luck, trees = random.Random(seed), Trees()
    sizes = [luck.choice([0, 1, 700, FANOUT, FANOUT + 1, 3 * FANOUT + 5]) for _ in range(2)]
    shared = {luck.randrange(4000): name(luck.randrange(1, 9)) for _ in range(luck.choice([0, 3, 500]))}
    own = [{luck.randrange(4000): name(luck.randrange(1, 9)) for _ in range(luck.choice([0, 1, 9]))} for _ in range(2)]
    parts = [
        {at: one for at, one in {**shared, **mine}.items() if at < size}
        for size, mine in zip(sizes, own, strict=True)
    ]
    have, want = (trees.tree(size, part) for size, part in zip(sizes, parts, strict=True))
    differing, reached = set(), 0
    for portion in difference(have, want):
        if isinstance(portion, Same):
            first = portion.index * FANOUT ** (portion.level + 1)
            assert first == reached
            reached += FANOUT ** (portion.level + 1)
            continue
        for change in changes(portion, 100, max(sizes)):
            assert change.first == reached
            reached += change.count
            differing |= {change.first + at for start, stop in change.runs for at in range(start, stop)}
    assert reached >= max(sizes)
    assert differing == {at for at in range(max(sizes)) if parts[0].get(at) != parts[1].get(at)}


def test_two_disks_that_are_the_same_are_compared_without_reading_a_page() -> None:
    trees = Trees()
    one, other = (trees.tree(20 * FANOUT, {at: name(at + 1) for at in range(0, 20_000, 3)}) for _ in range(2))
    assert [type(portion) for portion in difference(one, other)] == [Same]
    assert trees.reads == 0


def test_one_chunk_that_differs_costs_one_page_of_each_level() -> None:
    trees = Trees()
    names = {at: name(at + 1) for at in range(0, 20_000, 3)}
    one, other = trees.tree(20 * FANOUT, names), trees.tree(20 * FANOUT, {**names, 5000: name(1)})
    assert [type(portion) for portion in difference(one, other)].count(Same) == 19
    assert trees.reads == 4


def test_a_change_knows_its_runs() -> None:
    a, b = name(1), name(2)
    assert Change(0, a + a + b + b + a, a + b + a + b + b).runs == ((1, 3), (4, 5))
    assert Change(0, a + b, a + b).runs == ()
