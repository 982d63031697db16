"""Saving one disk: bytes in, one name out.

Threads draw units of 2 MiB in disk order.  Each reads its unit into its own aligned buffer, finds zeroes, names the
other chunks, and seals those that are new into its own pack.  What is unchanged is recognised by the parent's
name at the same place, what is known by the index; only new names cost more than a hash.  What is known to be
lost counts as new wherever it is met, and so comes back for every backup that needs it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from restead.domain.errors import Damaged
from restead.domain.extent import Extent
from restead.ports import BlockSource
from restead.repository.buffers import BUFFERS, Aligned
from restead.repository.chunk import NAME_SIZE, Names
from restead.repository.crew import work_together
from restead.repository.keeping import Keeper
from restead.repository.known import Known
from restead.repository.manifest import DiskDescription, Root
from restead.repository.pack import Shelf
from restead.repository.pausing import Pauses
from restead.repository.progress import Count, Progress, Report
from restead.repository.seal import Kind
from restead.repository.tree import FANOUT, Keep, Tree, TreeBuilder

UNIT = 2 << 20  # bytes read at once


@dataclass(frozen=True, slots=True)
class Unit:
    """Chunks of one leaf page to read, or whole leaf pages that are zero."""

    page: int
    first: int  # number of the first chunk
    wanted: bytes  # for each chunk: 1 if it is to be read; nothing: whole pages
    pages: int = 1  # how many
    given: bytes = b""  # names of what is not read, or of the one whole page; nothing: zeroes


@dataclass(frozen=True, slots=True)
class Saved:
    """A disk that is in the repository, but in no manifest yet."""

    session: int
    label: str  # becomes the manifest's: the caller's own mark
    root: bytes  # name of the root, 32 bytes: the proof of the whole disk
    size: int  # bytes
    count: Count


@dataclass(frozen=True, slots=True)
class Studio:
    """What saving a disk needs, whichever disk it is."""

    shelf: Shelf
    names: Names
    known: Known
    scratch: Path  # folder for packs under construction
    chunk_size: int
    threads: int


@dataclass(frozen=True, slots=True)
class Noting:
    """When and how to note what of a disk is finished."""

    due: Callable[[], bool]  # asked for every unit, by every thread
    note: Callable[[bytes], None]  # told the name of a root that is durable


class Saving:
    """One disk being saved."""

    def __init__(
        self,
        studio: Studio,
        source: BlockSource,
        parent: Tree | None,
        keeper: Keeper,
        progress: Callable[[Progress], None],
        check: Callable[[], None],
        noting: "Noting | None" = None,
    ) -> None:
        self._studio = studio
        self._noting = noting
        self._keeper = keeper
        self._source = source
        self._parent = parent
        self._check = check
        self._size = source.size
        self._chunk = studio.chunk_size
        self._tree = TreeBuilder(-(-source.size // studio.chunk_size), studio.names)
        self._report = Report(studio.threads, source.size, progress)

    def run(self, description: DiskDescription) -> tuple[bytes, Count]:
        """Return the name of the disk's root.  All of it is durable, and in the index, if the keeper keeps it."""
        try:
            self._work(description)
            name = self._keep_root(self._tree.top, description)
        finally:
            self._keeper.close()
        count = self._report.sum()
        count.zero = self._size - count.new - count.deduplicated
        count.stored = self._keeper.stored
        return name, count

    def _work(self, description: DiskDescription) -> None:
        wanted = self._noting.due if self._noting else (lambda: False)
        self._pauses = Pauses(self._studio.threads, wanted, lambda: self._note(description))
        work_together(self._studio.threads, self._plan(), self._save_and_leave)

    def _save_and_leave(self, thread: int, units: Iterator[Unit]) -> None:
        failed = True
        try:
            self._save_units(thread, units)
            failed = False
        finally:
            self._pauses.leave(failed=failed)

    def _note(self, description: DiskDescription) -> None:
        """Make durable what is finished so far, as a disk that is zero elsewhere.  All threads stand still."""
        assert self._noting is not None
        self._noting.note(self._keep_root(self._tree.so_far(self._keep_page(0)), description))

    def _keep_root(self, top: bytes, description: DiskDescription) -> bytes:
        """Return the name of the root over that top.  It, and all before it, is durable and in the index."""
        self.root = Root(self._size, self._chunk, top, description)
        root = self.root.encode()
        name = self._studio.names.name(Kind.ROOT, root)
        self._keeper.store(0, Kind.ROOT, name, root)
        self._keeper.finish()
        return name

    def _keep_page(self, thread: int) -> Keep:
        def keep(level: int, index: int, name: bytes, page: bytes) -> None:
            if not self._inherits(level, index, name):
                self._keeper.store(thread, Kind.PAGE, name, page)

        return keep

    def _plan(self) -> Iterator[Unit]:
        return plan_units(self._source, self._chunk)

    def _save_units(self, thread: int, units: Iterator[Unit]) -> None:
        size = max(UNIT, self._chunk)
        keep = self._keep_page(thread)
        for unit in units:
            self._check()
            if unit.wanted:
                with BUFFERS.borrow(size) as (buffer,):
                    names = self._save_unit(thread, unit, buffer)
                self._tree.put(unit.first, names, keep)
                chunks = len(unit.wanted)
            elif unit.given:
                self._tree.put_page(0, unit.page, unit.given, keep)
                chunks = FANOUT
            else:
                self._tree.put_zero(unit.page, unit.pages, keep)
                chunks = unit.pages * FANOUT
            self._report.done(thread, self._length(unit.first, unit.first + chunks))
            self._pauses.come_by()

    def _inherits(self, level: int, index: int, name: bytes) -> bool:
        """Tell whether a page is surely stored, because the parent has it at the same place."""
        if self._parent is None or name in self._studio.known.lost:
            return False
        try:
            return self._parent.name_at(level, index) == name
        except Damaged:  # by now it is known to be lost: it is stored again when it is met
            return False

    def _inherited(self, page: int) -> bytes:
        """Return the names of a leaf page's chunks in the parent; nothing if it has none, or lost them."""
        try:
            return b"" if self._parent is None else self._parent.leaf(page)
        except Damaged:
            return b""

    def _save_unit(self, thread: int, unit: Unit, buffer: Aligned) -> bytes:
        """Return the names of the unit's chunks; those that are new are in this thread's pack."""
        count = self._report.counts[thread]
        inherited = self._inherited(unit.page)
        names = bytearray(unit.given or len(unit.wanted) * NAME_SIZE)
        for start, stop in _runs(unit.wanted):
            length = self._length(unit.first + start, unit.first + stop)
            self._source.read_into((unit.first + start) * self._chunk, buffer.view[:length])
            count.read += length
            for at in range(start, stop):
                begin = (at - start) * self._chunk
                size = min(self._chunk, length - begin)
                if buffer.is_zero(begin, size):
                    continue
                place = (unit.first + at) % FANOUT * NAME_SIZE
                name = self._save_chunk(thread, buffer.view[begin : begin + size], inherited[place : place + NAME_SIZE])
                names[at * NAME_SIZE : (at + 1) * NAME_SIZE] = name
        return bytes(names)

    def _save_chunk(self, thread: int, data: memoryview, inherited: bytes) -> bytes:
        name = self._studio.names.chunk(data)
        count = self._report.counts[thread]
        surely = name == inherited and name not in self._studio.known.lost
        if not surely and self._keeper.store(thread, Kind.CHUNK, name, data):
            count.new += len(data)
        else:
            count.deduplicated += len(data)
        return name

    def _length(self, first: int, end: int) -> int:
        """Return the bytes of the chunks from *first* to *end*: the last chunk of a disk may be short."""
        return min(end * self._chunk, self._size) - first * self._chunk


def plan_units(source: BlockSource, chunk_size: int) -> Iterator[Unit]:
    """Yield what there is to read of *source*, in disk order; each chunk is in exactly one unit, holes in none."""
    chunks = -(-source.size // chunk_size)
    step = min(FANOUT, max(1, UNIT // chunk_size))
    zero_from = 0
    for page, marks in _marked_pages(source, chunk_size):
        if page > zero_from:
            yield Unit(zero_from, zero_from * FANOUT, b"", page - zero_from)
        zero_from = page + 1
        for at in range(0, len(marks), step):
            yield Unit(page, page * FANOUT + at, bytes(marks[at : at + step]))
    pages = -(-chunks // FANOUT)
    if pages > zero_from:
        yield Unit(zero_from, zero_from * FANOUT, b"", pages - zero_from)


def _marked_pages(source: BlockSource, chunk_size: int) -> Iterator[tuple[int, bytearray]]:
    """Yield each leaf page that may hold data, with a mark for each of its chunks."""
    chunks = -(-source.size // chunk_size)
    page, marks = -1, bytearray()
    for extent in covering(source, 0, source.size):
        if not extent.data:
            continue
        first, end = extent.offset // chunk_size, -(-extent.end // chunk_size)
        while first < end:
            if first // FANOUT != page:
                if page >= 0:
                    yield page, marks
                page = first // FANOUT
                marks = bytearray(min(FANOUT, chunks - page * FANOUT))
            stop = min(end, (page + 1) * FANOUT)
            at = first - page * FANOUT
            marks[at : at + stop - first] = b"\1" * (stop - first)
            first = stop
    if page >= 0:
        yield page, marks


def covering(source: BlockSource, offset: int, length: int) -> Iterator[Extent]:
    """Yield the source's extents of that stretch.

    Raises:
        ValueError: they leave something out.  Believed, that would be zeroes where there may be data.
    """
    at = offset
    for extent in source.extents(offset, length):
        if extent.offset != at or extent.length <= 0:
            raise ValueError(f"extents go on at {extent.offset} with {extent.length} bytes, expected {at}")
        at = extent.end
        yield extent
    if at != offset + length:
        raise ValueError(f"extents end at {at}, {offset + length} expected")


def _runs(wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each run of wanted chunks."""
    stop = 0
    while (start := wanted.find(1, stop)) >= 0:
        stop = wanted.find(0, start)
        stop = len(wanted) if stop < 0 else stop
        yield start, stop
