"""Putting one disk back.

Threads draw units of 2 MiB (smaller ones, and more threads, where the store is far away) in disk order.  A unit's
chunks are fetched with few large reads, authenticated, checked against their names, and only then written, neighbours
by one write.  Zeroes are made zero where the target may hold data, also behind the backup's end.  At the end the
root's name is computed anew from what was written where: a unit that was left out, or written or zeroed in part,
cannot end as success.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from restead.domain.errors import Code, Damaged, InvalidRequest
from restead.ports import BlockTarget, KeepsSpace
from restead.repository.backup import covering
from restead.repository.buffers import BUFFERS, Aligned
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.crew import work_together
from restead.repository.gather import Work, gathered
from restead.repository.manifest import Root
from restead.repository.progress import Count, Progress, Report
from restead.repository.reader import GAP, PORTION, Fetcher, Reader, Wanted, span_of
from restead.repository.seal import Kind
from restead.repository.tree import FANOUT, Tree, TreeBuilder

ZEROING = 4 << 20  # bytes made zero between two checks
LOOKING = 1 << 30  # bytes of zeroes that one thread takes at once


def plan_restore(tree: Tree, root: Root, target_size: int, portion: int = PORTION) -> Iterator[Work]:
    """Yield what must be on the target, in disk order, all of it exactly once, to the target's end."""
    step = min(FANOUT, max(1, portion // root.chunk_size))
    page_size = FANOUT * root.chunk_size
    for stretch in tree.stretches():
        start = stretch.first * page_size
        if stretch.entries is None:
            yield from _zeroes(start, min((stretch.first + stretch.count) * page_size, root.size), page_size)
            continue
        for at in range(0, len(stretch.entries) // NAME_SIZE, step):
            names = stretch.entries[at * NAME_SIZE : (at + step) * NAME_SIZE]
            offset = start + at * root.chunk_size
            yield Work(offset, min(len(names) // NAME_SIZE * root.chunk_size, root.size - offset), names)
    yield from _zeroes(root.size, target_size, page_size)


def in_groups(reader: Reader, works: Iterator[Work], chunk_size: int) -> Iterator[list[Work]]:
    """Yield that work as it is best fetched: as it comes, or in the order of the packs."""
    return gathered(reader, works, chunk_size, reader.whole) if reader.whole else ([work] for work in works)


def span_at_once(reader: Reader, chunk_size: int) -> int:
    """Return the most stored bytes of one group that are fetched at once."""
    return span_of(chunk_size, reader.whole + GAP if reader.whole else reader.span)


@contextmanager
def whole_buffers(reader: Reader, chunk_size: int) -> Iterator[tuple[Aligned, Fetcher]]:
    """Lend memory for the chunks of one group, and what fetches them."""
    portion = max(reader.portion, reader.whole)
    with BUFFERS.borrow(unit_size(chunk_size, portion), span_at_once(reader, chunk_size)) as (unit, sealed):
        yield unit, Fetcher(reader, chunk_size, sealed)


def unit_size(chunk_size: int, portion: int = PORTION) -> int:
    """Return the bytes that a buffer for one unit needs."""
    return max(portion, chunk_size)


def _zeroes(start: int, end: int, page_size: int) -> Iterator[Work]:
    # Whole pages (both are powers of two): no leaf page is in two pieces.
    step = max(LOOKING, page_size)
    while start < end:
        stop = min(end, (start // step + 1) * step)
        yield Work(start, stop - start)
        start = stop


class Restoring:
    """One disk being restored."""

    def __init__(
        self,
        reader: Reader,
        root: Root,
        target: BlockTarget,
        threads: int,
        progress: Callable[[Progress], None],
        check: Callable[[], None],
        target_is_new: bool,
    ) -> None:
        self._reader = reader
        self._root = root
        self._target = target
        self._threads = threads
        self._check = check
        self._new = target_is_new
        self._proof = TreeBuilder(root.chunks, reader.names)
        self._report = Report(threads, target.size, progress)

    def run(self, root_name: bytes, tree: Tree) -> Count:
        """Write the whole disk, flush it, and prove it.

        Raises:
            InvalidRequest: the target is smaller than the backup; nothing was written.
            Damaged: something that is needed is lost or damaged; part of the disk was written.
        """
        if self._target.size < self._root.size:
            raise InvalidRequest(
                f"the target holds {self._target.size} bytes, the backup needs {self._root.size}",
                code=Code.TARGET_TOO_SMALL,
            )
        self._reserve(tree)
        work_together(self._threads, in_groups(self._reader, self._plan(tree), self._root.chunk_size), self._restore)
        self._check()
        self._target.flush()
        self._prove(root_name)
        return self._report.sum()

    def _plan(self, tree: Tree) -> Iterator[Work]:
        return plan_restore(tree, self._root, self._target.size, self._reader.portion)

    def _reserve(self, tree: Tree) -> None:
        """Let a new target allocate what it will need: in few large steps, which writes need not wait for.

        Raises Unavailable: there is no space.
        """
        if not self._new or not isinstance(self._target, KeepsSpace):
            return
        for offset, length in _stretches(self._plan(tree), self._root.chunk_size):
            self._check()
            self._target.reserve(offset, length)

    def _restore(self, thread: int, groups: Iterator[list[Work]]) -> None:
        for works in groups:
            self._check()
            if works[0].names:
                with whole_buffers(self._reader, self._root.chunk_size) as (unit, fetcher):
                    self._write_all(thread, works, unit, fetcher)
            for work in works:
                if not work.names:
                    self._make_zero(thread, work.offset, work.length)
                    self._prove_zeroes(work)
                self._report.done(thread, work.length)

    def _write_all(self, thread: int, works: Sequence[Work], unit: Aligned, fetcher: Fetcher) -> None:
        """Fetch the chunks of a group, write them, and note the names of what was written.

        A chunk's bytes were compared with its name in the very memory that they are written from: they are not
        hashed again.  What is noted is where they went.
        """
        views = list(views_of(works, self._root.chunk_size, unit))
        fetcher.fetch([one for work, view in views for one in wanted_of(work, view, self._root.chunk_size)])
        for work, view in views:
            self._write(thread, work, view)

    def _write(self, thread: int, work: Work, view: memoryview) -> None:
        chunk, count = self._root.chunk_size, self._report.counts[thread]
        proven = bytearray(len(work.names))
        for start, end, zero in _runs(work, chunk):
            if zero:
                self._make_zero(thread, work.offset + start, end - start)
                continue
            self._target.write_at(work.offset + start, view[start:end])
            written = slice(start // chunk * NAME_SIZE, -(-end // chunk) * NAME_SIZE)
            proven[written] = work.names[written]
            count.read += end - start
            count.written += end - start
        self._proof.put(work.offset // chunk, bytes(proven), _keep_nothing)

    def _make_zero(self, thread: int, offset: int, length: int) -> None:
        count = self._report.counts[thread]
        if self._new:
            count.kept += length
            return
        for extent in covering(self._target, offset, length):
            if not extent.data:
                count.kept += extent.length
                continue
            for at in range(extent.offset, extent.end, ZEROING):
                self._check()
                self._target.zero_at(at, min(ZEROING, extent.end - at))
            count.zero += extent.length

    def _prove_zeroes(self, work: Work) -> None:
        """Note a stretch of zeroes, whole leaf pages of the disk, or what lies behind its end."""
        page_size = FANOUT * self._root.chunk_size
        end = min(work.offset + work.length, self._root.size)
        if end > work.offset:
            self._proof.put_zero(work.offset // page_size, -(-(end - work.offset) // page_size), _keep_nothing)

    def _prove(self, root_name: bytes) -> None:
        written = Root(self._root.size, self._root.chunk_size, self._proof.top, self._root.description)
        name = self._reader.names.name(Kind.ROOT, written.encode())
        if name != root_name:
            raise Damaged(f"what was written is {name.hex()}, the backup is {root_name.hex()}")


def _runs(work: Work, chunk: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, zero) of runs of chunks that are all zero or all not, in bytes from the unit's start."""
    zeroes = [work.names[at : at + NAME_SIZE] == ZERO for at in range(0, len(work.names), NAME_SIZE)]
    start = 0
    for at in range(1, len(zeroes) + 1):
        if at == len(zeroes) or zeroes[at] != zeroes[start]:
            yield start * chunk, min(at * chunk, work.length), zeroes[start]
            start = at


def _stretches(works: Iterator[Work], chunk: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of what is not zero, neighbours together."""
    at = end = 0
    for work in works:
        for start, stop, zero in _runs(work, chunk) if work.names else ():
            if zero:
                continue
            if work.offset + start != end:
                if end > at:
                    yield at, end - at
                at = work.offset + start
            end = work.offset + stop
    if end > at:
        yield at, end - at


def views_of(works: Sequence[Work], chunk: int, unit: Aligned) -> Iterator[tuple[Work, memoryview]]:
    """Yield each with its part of the buffer, which begins at a whole chunk: direct I/O wants it aligned."""
    at = 0
    for work in works:
        yield work, unit.view[at : at + work.length]
        at += -(-work.length // chunk) * chunk


def wanted_of(work: Work, view: memoryview, chunk: int) -> Iterator[Wanted]:
    """Yield the chunks of a run that are not zero, each with its part of *view*."""
    for at in range(0, len(work.names), NAME_SIZE):
        name, begin = work.names[at : at + NAME_SIZE], at // NAME_SIZE * chunk
        if name != ZERO:
            yield Wanted(name, work.offset + begin, view[begin : min(begin + chunk, work.length)])


def _keep_nothing(level: int, index: int, name: bytes, page: bytes) -> None:
    """A proof needs names only."""


