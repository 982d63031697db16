"""The first half of a restore: what stands on the target, named, compared with what is wanted, and saved.

It is a backup of the target whose parent is what is wanted: what is right already costs a hash, what the repository
knows is not stored, and everything else is in it before anything is overwritten.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId
from restead.ports import BlockSource
from restead.repository.ahead import ahead_of
from restead.repository.backup import UNIT, Saved, Saving, Studio, Unit, covering
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.difference import Same, changes, difference
from restead.repository.keeping import Keeper
from restead.repository.progress import Progress
from restead.repository.tree import FANOUT, Tree


@dataclass(frozen=True, slots=True)
class Hint:
    """What a disk held at some moment, and where it may have changed since: the rest is not read."""

    manifest: ManifestId  # one of the session's reads
    changed: Sequence[tuple[int, int]]  # (offset, length) in bytes, in any order
    guaranteed: bool = False  # by whoever keeps the disk: nobody can have written anywhere else


@dataclass(frozen=True, slots=True)
class Survey(Saved):
    """What stands on a target, and how it differs from what is wanted there.  All numbers in bytes of disk."""

    stored: bool  # it is in the repository and can be committed
    wanted: ManifestId
    kept: int  # in chunks that are right already
    to_write: int  # in chunks that differ and are to hold data: the most that will be written
    to_zero: int  # in chunks that differ and are to be zero
    proven: bool  # all of it was read, or guaranteed
    tree: Tree = field(repr=False, compare=False)
    gone: Sequence[Damaged] = ()  # pages of what is wanted that are needed and lost

    @property
    def blank(self) -> bool:
        """The target is all zero: nothing can be lost on it."""
        return self.tree.root.top == ZERO


class Surveying(Saving):
    """One target being read.  *hinted*: the tree of what it held before, and what may have changed since."""

    def __init__(
        self,
        studio: Studio,
        source: BlockSource,
        wanted: Tree,
        hinted: tuple[Tree, Sequence[tuple[int, int]]] | None,
        keeper: Keeper,
        progress: Callable[[Progress], None],
        check: Callable[[], None],
    ) -> None:
        super().__init__(studio, source, wanted, keeper, progress, check)
        # A hint about a disk of another size is none.
        self._hinted = hinted if hinted is not None and hinted[0].root.size == source.size else None

    @property
    def used_hint(self) -> bool:
        return self._hinted is not None

    def _plan(self) -> Iterator[Unit]:
        if self._hinted is None:
            yield from super()._plan()
            return
        tree, changed = self._hinted
        marks = _changed_chunks(changed, self._chunk, self._size)
        pages = range(-(-tree.root.chunks // FANOUT))
        for page in ahead_of(pages, marks.__contains__, lambda page: tree.expect(0, page), tree.ahead):
            touched = marks.get(page)
            if touched is not None:
                yield from self._changed_page(tree, page, touched)
            elif (name := tree.name_at(0, page)) and name != ZERO:
                self._report.counts[0].deduplicated += self._length(page * FANOUT, (page + 1) * FANOUT)
                yield Unit(page, page * FANOUT, b"", given=name)
            else:
                yield Unit(page, page * FANOUT, b"")

    def _changed_page(self, tree: Tree, page: int, touched: Sequence[tuple[int, int]]) -> Iterator[Unit]:
        first, count = page * FANOUT, min(FANOUT, tree.root.chunks - page * FANOUT)
        names = bytearray(tree.leaf(page) or count * NAME_SIZE)
        marks = bytearray(count)
        for start, stop in touched:
            self._look(first, start, stop, marks)
            names[start * NAME_SIZE : stop * NAME_SIZE] = bytes((stop - start) * NAME_SIZE)
        step = min(FANOUT, max(1, UNIT // self._chunk))
        for at in range(0, count, step):
            given = bytes(names[at * NAME_SIZE : (at + step) * NAME_SIZE])
            yield Unit(page, first + at, bytes(marks[at : at + step]), given=given)

    def _look(self, first: int, start: int, stop: int, marks: bytearray) -> None:
        """Mark those of a page's chunks that may hold data."""
        offset = (first + start) * self._chunk
        for extent in covering(self._source, offset, self._length(first + start, first + stop)):
            if extent.data:
                begin, end = extent.offset // self._chunk - first, -(-extent.end // self._chunk) - first
                marks[begin:end] = b"\1" * (end - begin)

    def _inherits(self, level: int, index: int, name: bytes) -> bool:
        known = self._hinted is not None and self._hinted[0].name_at(level, index) == name
        return known or super()._inherits(level, index, name)


def _changed_chunks(changed: Sequence[tuple[int, int]], chunk: int, size: int) -> dict[int, list[tuple[int, int]]]:
    """Return for each leaf page the (start, stop) of its chunks that may have changed."""
    pages: dict[int, list[tuple[int, int]]] = {}
    for offset, length in changed:
        first, end = max(offset, 0) // chunk, -(-min(offset + length, size) // chunk)
        while first < end:
            page = first // FANOUT
            stop = min(end, (page + 1) * FANOUT)
            pages.setdefault(page, []).append((first - page * FANOUT, stop - page * FANOUT))
            first = stop
    return pages


def measure(have: Tree, want: Tree) -> tuple[int, int]:
    """Return the bytes of chunks that differ and are to hold data, and of those that are to be zero."""
    size, chunk = max(have.root.size, want.root.size), want.root.chunk_size
    total = -(-size // chunk)
    to_write = to_zero = 0
    for page in difference(have, want):
        if isinstance(page, Same):
            continue
        for change in changes(page, FANOUT, total):
            for start, stop in change.runs:
                for at in range(start, stop):
                    length = min(chunk, size - (change.first + at) * chunk)
                    if change.want_at(at) == ZERO:
                        to_zero += length
                    else:
                        to_write += length
    return to_write, to_zero
