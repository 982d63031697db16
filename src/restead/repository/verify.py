"""Reading a whole manifest and checking every bit of it, without writing anything."""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

from restead.domain.errors import Damaged
from restead.repository.buffers import BUFFERS, Aligned
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.crew import work_together
from restead.repository.manifest import Root
from restead.repository.progress import Count, Progress, Report
from restead.repository.reader import Fetcher, Reader, Wanted, span_of
from restead.repository.restore import Work, plan_restore, unit_size
from restead.repository.tree import Tree

MOST_RANGES = 10_000  # told of one disk; the message says how many bytes there are in all


class Verifying:
    """One manifest being read.  Damage does not stop it: all of it is found, then told."""

    def __init__(
        self,
        reader: Reader,
        root: Root,
        threads: int,
        progress: Callable[[Progress], None],
        check: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._root = root
        self._threads = threads
        self._check = check
        self._report = Report(threads, root.size, progress)
        self._bad: list[tuple[int, int]] = []
        self._first: Damaged | None = None
        self._lock = Lock()

    def run(self, tree: Tree) -> Count:
        """Return when every chunk was read, authenticated and compared with its name.

        Raises:
            Damaged: some of it is lost or damaged: *ranges* says which bytes of the disk, the message what is first.
        """
        plan = plan_restore(tree, self._root, self._root.size, self._reader.portion)
        work_together(self._threads, plan, self._read_units)
        if self._first is not None:
            lost = sum(length for _, length in self._bad)
            told = sorted(self._bad)[:MOST_RANGES]
            message = f"{lost} bytes in {len(self._bad)} places: {self._first.message}"
            raise Damaged(message, ranges=told, detail=self._first.detail) from self._first
        return self._report.sum()

    def _read_units(self, thread: int, works: Iterator[Work]) -> None:
        count, chunk, reader = self._report.counts[thread], self._root.chunk_size, self._reader
        for work in works:
            self._check()
            with BUFFERS.borrow(unit_size(chunk, reader.portion), span_of(chunk, reader.span)) as (unit, sealed):
                read = self._read_unit(list(self._wanted(work, unit)), Fetcher(reader, chunk, sealed))
            count.read += read
            count.zero += work.length - read
            self._report.done(thread, work.length)

    def _read_unit(self, wanted: Sequence[Wanted], fetcher: Fetcher) -> int:
        try:
            fetcher.fetch(wanted)
        except Damaged as error:
            self._note(error)
        return sum(len(chunk.view) for chunk in wanted)

    def _wanted(self, work: Work, unit: Aligned) -> Iterator[Wanted]:
        chunk = self._root.chunk_size
        for at in range(0, len(work.names), NAME_SIZE):
            name, begin = work.names[at : at + NAME_SIZE], at // NAME_SIZE * chunk
            if name != ZERO:
                yield Wanted(name, work.offset + begin, unit.view[begin : min(begin + chunk, work.length)])

    def _note(self, error: Damaged) -> None:
        with self._lock:
            self._first = self._first or error
            self._bad += error.ranges
