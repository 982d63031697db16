"""A disk of which some is lost, as it can still be restored: zero where it is lost, proven to be the backup elsewhere.

`Holed` is the value that says so; it is decided once, before anything is written, and handed down.  Its tree is the
manifest's own with zero marks where chunks are lost.  The proof stays the manifest's: at the holes, and nowhere else,
its own names are put in place of what stands there, so that a hole which is not listed cannot be proven.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restead.domain.ids import ManifestId
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.manifest import Root
from restead.repository.ranges import Range, joined
from restead.repository.tree import FANOUT, Stretch, Tree

_TORN = b"\xff" * NAME_SIZE  # no page has this name: one that has holes is like no other


@dataclass(frozen=True, slots=True)
class Holed:
    """A manifest of whose disk *lost* is zero: (offset, length) in whole chunks, the disk's last one may be short."""

    manifest: ManifestId
    lost: tuple[Range, ...]


class HoledTree(Tree):
    """The tree of a disk with holes."""

    def __init__(self, whole: Tree, lost: Sequence[Range]) -> None:
        self._whole = whole
        chunk = whole.root.chunk_size
        holes = [(offset // chunk, -(-(offset + length) // chunk)) for offset, length in joined(lost)]
        self._starts = [start for start, _ in holes]
        self._stops = [stop for _, stop in holes]

    @property
    def ahead(self) -> int:  # type: ignore[override]  # the whole tree fetches
        return self._whole.ahead

    @property
    def root(self) -> Root:
        return self._whole.root

    @property
    def levels(self) -> int:
        return self._whole.levels

    def name_at(self, level: int, index: int) -> bytes | None:
        if not 0 <= level < self.levels or index * FANOUT ** (level + 1) >= self.root.chunks:
            return None
        missing = self._missing(level, index)
        if missing is None:
            return _TORN
        return ZERO if missing else self._whole.name_at(level, index)

    def expect(self, level: int, index: int) -> None:
        if self._missing(level, index) is not True:
            self._whole.expect(level, index)

    def look(self, level: int, index: int) -> None:
        if self._missing(level, index) is not True:
            self._whole.look(level, index)

    def leaf(self, index: int) -> bytes:
        missing = self._missing(0, index)
        if missing:
            return b""
        names = self._whole.leaf(index)
        if missing is None:
            return bytes(self._pierced(index, bytearray(names)))
        return names

    def stretches(self) -> Iterator[Stretch]:
        if self.levels:
            yield from self._stretches(self.levels - 1, 0)

    def tops(self) -> Iterator[tuple[int, int, bytes]]:
        if self.levels:
            yield from self._tops(self.levels - 1, 0)

    def proving(self, first: int, names: bytes) -> bytes:
        missing = self._missing(0, first // FANOUT)
        if missing is False:
            return names
        if missing:
            return b""
        at = first % FANOUT * NAME_SIZE
        return self._whole.leaf(first // FANOUT)[at : at + len(names)]

    def proves(self, level: int, index: int) -> bool:
        return level >= self.levels or not self._missing(level, index)

    def _missing(self, level: int, index: int) -> bool | None:
        """Tell whether all of a page is lost (True), nothing of it (False), or a part (None)."""
        width = FANOUT ** (level + 1)
        first, stop = index * width, min((index + 1) * width, self.root.chunks)
        at = bisect_right(self._starts, first) - 1
        if at >= 0 and self._stops[at] >= stop:
            return True
        if at >= 0 and self._stops[at] > first:
            return None
        return None if at + 1 < len(self._starts) and self._starts[at + 1] < stop else False

    def _pierced(self, page: int, names: bytearray) -> bytearray:
        first = page * FANOUT
        at = max(0, bisect_right(self._starts, first) - 1)
        while at < len(self._starts) and self._starts[at] < first + FANOUT:
            start, stop = max(self._starts[at], first) - first, min(self._stops[at], first + FANOUT) - first
            if stop > start:
                names[start * NAME_SIZE : stop * NAME_SIZE] = bytes((stop - start) * NAME_SIZE)
            at += 1
        return names

    def _children(self, level: int, index: int) -> range:
        width = -(-self.root.chunks // FANOUT**level)
        return range(index * FANOUT, min((index + 1) * FANOUT, width))

    def _stretches(self, level: int, index: int) -> Iterator[Stretch]:
        name = self.name_at(level, index)
        if name == ZERO:
            width = FANOUT**level
            yield Stretch(index * width, min(width, -(-self.root.chunks // FANOUT) - index * width), None)
        elif level == 0:
            yield Stretch(index, 1, self.leaf(index))
        else:
            for child in self._children(level, index):
                yield from self._stretches(level - 1, child)

    def _tops(self, level: int, index: int) -> Iterator[tuple[int, int, bytes]]:
        missing = self._missing(level, index)
        if missing:
            name = self._whole.name_at(level, index)
            assert name is not None, "a hole lies outside of the disk"
            yield level, index, name
        elif missing is None and level:
            for child in self._children(level, index):
                yield from self._tops(level - 1, child)


def with_holes(tree: Tree, lost: Sequence[Range]) -> Tree:
    """Return the tree of a disk of which *lost* is zero."""
    return HoledTree(tree, lost) if lost else tree
