"""Where two disks differ, found by their page trees alone.

Equal page names mean equal bytes: such a page is passed over, however much lies below it.  The disks may be of
different sizes; behind the end of either there are zeroes.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from restead.domain.errors import Damaged
from restead.repository.ahead import ahead_of
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.tree import FANOUT, Tree

_UNKNOWN = b"\xff" * NAME_SIZE  # of what nobody can tell any more: like no other name


@dataclass(frozen=True, slots=True)
class Same:
    """A page that is the same in both, or zero in both."""

    level: int
    index: int  # of the page in its level
    name: bytes


@dataclass(frozen=True, slots=True)
class Unlike:
    """A leaf page that is not the same: the names of its 1,024 chunks, zero marks behind the end of a disk."""

    page: int
    have: bytes
    want: bytes


def difference(have: Tree, want: Tree) -> Iterator[Same | Unlike]:
    """Yield all of both trees, in disk order.  Raises Damaged if a page of *want* that is needed is lost.

    Where a page of *have* is lost, everything is taken to differ.
    """
    levels = max(have.levels, want.levels)
    if levels:
        yield from _compare(have, want, levels - 1, 0)


def damage(have: Tree, want: Tree) -> Iterator[Damaged]:
    """Yield for each page of *want* that is needed and lost what is wrong; what is below it is not looked at."""
    levels = max(have.levels, want.levels)
    if levels:
        yield from _damage(have, want, levels - 1, 0)


def lost_pages(tree: Tree) -> Iterator[Damaged]:
    """Yield for each page that is lost what is wrong; what is below it is not looked at."""
    if tree.levels:
        yield from _damage(None, tree, tree.levels - 1, 0)


def _damage(have: Tree | None, want: Tree, level: int, index: int) -> Iterator[Damaged]:
    one = None if have is None else _present(have, level, index)
    other = _name(want, level, index)
    if (one is not None and one == other) or other == ZERO:
        return
    try:
        want.look(level, index)
    except Damaged as error:
        yield error
        return
    width = -(-want.root.chunks // FANOUT**level)
    for child in range(index * FANOUT, min((index + 1) * FANOUT, width)) if level else ():
        yield from _damage(have, want, level - 1, child)


def _compare(have: Tree, want: Tree, level: int, index: int) -> Iterator[Same | Unlike]:
    one, other = _present(have, level, index), _name(want, level, index)
    if one is not None and one == other:
        yield Same(level, index, one)
    elif level == 0:
        whole = FANOUT * NAME_SIZE
        yield Unlike(index, _present_leaf(have, index).ljust(whole, b"\0"), want.leaf(index).ljust(whole, b"\0"))
    else:
        width = -(-max(have.root.chunks, want.root.chunks) // FANOUT**level)
        children = range(index * FANOUT, min((index + 1) * FANOUT, width))

        def differs(child: int) -> bool:
            one = _present(have, level - 1, child)
            return one is None or one != _name(want, level - 1, child)

        def expect(child: int) -> None:
            with suppress(Damaged):  # nobody can tell any more what was there
                have.expect(level - 1, child)
            want.expect(level - 1, child)

        for child in ahead_of(children, differs, expect, min(have.ahead, want.ahead)):
            yield from _compare(have, want, level - 1, child)


def _name(tree: Tree, level: int, index: int) -> bytes | None:
    """Return the name of a page, the zero mark where the disk has none; None above the top of a tree with data."""
    if level >= tree.levels:
        return ZERO if index or tree.root.top == ZERO else None
    return tree.name_at(level, index) or ZERO


def _present(have: Tree, level: int, index: int) -> bytes | None:
    try:
        return _name(have, level, index)
    except Damaged:
        return None


def _present_leaf(have: Tree, index: int) -> bytes:
    try:
        return have.leaf(index)
    except Damaged:
        return _UNKNOWN * min(FANOUT, have.root.chunks - index * FANOUT)


class Change:
    """A few neighbouring chunks of one leaf page, which may differ."""

    __slots__ = ("count", "first", "have", "runs", "want")

    def __init__(self, first: int, have: bytes, want: bytes) -> None:
        self.first = first  # number of the first chunk
        self.have = have  # names of what stands there
        self.want = want  # names of what is to stand there
        self.count = len(want) // NAME_SIZE
        self.runs = () if have == want else tuple(self._runs())  # (start, stop) of each run of differing chunks

    def _runs(self) -> Iterator[tuple[int, int]]:
        start = -1
        for at in range(self.count):
            if self.have_at(at) == self.want_at(at):
                if start >= 0:
                    yield start, at
                start = -1
            elif start < 0:
                start = at
        if start >= 0:
            yield start, self.count

    def want_at(self, at: int) -> bytes:
        """Return the wanted name of the chunk that many behind *first*."""
        return self.want[at * NAME_SIZE : (at + 1) * NAME_SIZE]

    def have_at(self, at: int) -> bytes:
        """Return the present name of the chunk that many behind *first*."""
        return self.have[at * NAME_SIZE : (at + 1) * NAME_SIZE]


def changes(page: Unlike, step: int, total: int) -> Iterator[Change]:
    """Yield the whole leaf page of a disk of *total* chunks in portions of *step* chunks, also those that are equal."""
    first = page.page * FANOUT
    for at in range(0, min(FANOUT, total - first), step):
        stop = min(at + step, total - first)
        place = slice(at * NAME_SIZE, stop * NAME_SIZE)
        yield Change(first + at, page.have[place], page.want[place])
