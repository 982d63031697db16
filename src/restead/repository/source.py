"""A manifest as a disk to read from, and where two manifests of a disk differ: what a copy is made of."""

from collections.abc import Iterator
from itertools import groupby

from restead.domain.extent import Extent
from restead.repository.ahead import ahead_of
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.difference import Same, changes, difference
from restead.repository.ranges import Range
from restead.repository.reader import Fetcher, Reader, Wanted
from restead.repository.tree import FANOUT, Tree

MOST_CHANGES = 100_000  # ranges that are told one by one; from then on whole leaf pages: this bounds memory


class ManifestSource:
    """Implements `BlockSource`.  Whatever is read was authenticated and compared with its name.

    What is lost raises Damaged, with *ranges*.
    """

    def __init__(self, reader: Reader, tree: Tree) -> None:
        self._reader = reader
        self._tree = tree
        self._chunk = tree.root.chunk_size
        self._idle: list[Fetcher] = []  # with their memory: no more than threads ever read at once

    @property
    def size(self) -> int:
        return self._tree.root.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        wanted: list[Wanted] = []
        parts: list[tuple[memoryview, memoryview]] = []  # of chunks that are wanted in part: where to, what
        end = offset + len(buffer)
        for begin, name in self._chunks(offset, end):
            length = min(self._chunk, self.size - begin)
            start, stop = max(begin, offset), min(begin + length, end)
            view = buffer[start - offset : stop - offset]
            if name == ZERO:
                view[:] = bytes(len(view))
                continue
            if len(view) < length:
                whole = memoryview(bytearray(length))
                parts.append((view, whole[start - begin : stop - begin]))
                view = whole
            wanted.append(Wanted(name, begin, view))
        self._fetch(wanted)
        for view, part in parts:
            view[:] = part

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        end, width = offset + length, FANOUT * self._chunk
        for start, names in self._leaves(offset, end):
            if not names:
                yield _within(offset, end, start, min(start + width, self.size), data=False)
                continue
            first = (max(start, offset) - start) // self._chunk
            last = -(-(min(start + width, end) - start) // self._chunk)
            numbers = range(first, min(last, len(names) // NAME_SIZE))
            for data, run in groupby(numbers, lambda at: _name(names, at) != ZERO):  # noqa: B023 - used at once
                chunks = list(run)
                begin, stop = start + chunks[0] * self._chunk, start + (chunks[-1] + 1) * self._chunk
                yield _within(offset, end, begin, stop, data=data)

    def _leaves(self, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield for each leaf page of that stretch where it begins, and its chunks' names; nothing if it is zero."""
        tree, width = self._tree, FANOUT * self._chunk
        pages = range(offset // width, -(-end // width))

        def needed(page: int) -> bool:
            return tree.name_at(0, page) != ZERO

        for page in ahead_of(pages, needed, lambda page: tree.expect(0, page), tree.ahead):
            yield page * width, tree.leaf(page)

    def _chunks(self, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield where each chunk of that stretch begins, and its name."""
        for start, names in self._leaves(offset, end):
            stop = min(start + FANOUT * self._chunk, end)
            for begin in range(max(start, offset // self._chunk * self._chunk), stop, self._chunk):
                yield begin, _name(names, (begin - start) // self._chunk) or ZERO

    def _fetch(self, wanted: list[Wanted]) -> None:
        if wanted:
            fetcher = self._idle.pop() if self._idle else Fetcher(self._reader, self._chunk)
            fetcher.fetch(wanted)
            self._idle.append(fetcher)


def changed_ranges(before: Tree, after: Tree) -> list[Range]:
    """Return what of *after* may be other bytes than in *before*, found by their pages alone.

    Raises:
        Damaged: a page of *after* that is needed is lost.
    """
    chunk, total = after.root.chunk_size, after.root.chunks
    found: list[Range] = []
    for page in difference(before, after):
        if isinstance(page, Same):
            continue
        for change in changes(page, FANOUT, total):
            runs = change.runs if len(found) < MOST_CHANGES else [(0, change.count)]
            found += [((change.first + start) * chunk, (stop - start) * chunk) for start, stop in runs]
    return found


def _name(names: bytes, at: int) -> bytes:
    return names[at * NAME_SIZE : (at + 1) * NAME_SIZE]


def _within(offset: int, end: int, start: int, stop: int, *, data: bool) -> Extent:
    start, stop = max(start, offset), min(stop, end)
    return Extent(start, stop - start, data)
