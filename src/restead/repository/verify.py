"""Reading a whole manifest and checking every bit of it, without writing anything."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock

from restead.domain.errors import Damaged
from restead.domain.wording import count_of
from restead.repository.buffers import BUFFERS
from restead.repository.crew import work_together
from restead.repository.difference import lost_pages
from restead.repository.gather import Work, only_checked
from restead.repository.holes import with_holes
from restead.repository.manifest import Root
from restead.repository.progress import Count, Progress, Report
from restead.repository.ranges import Range, joined, total
from restead.repository.reader import Fetcher, Reader, Wanted
from restead.repository.restore import in_groups, plan_restore, span_at_once
from restead.repository.tree import Tree

MOST_RANGES = 100_000  # told of one disk; the message says how many bytes there are in all


def told_at_once(first: Damaged, ranges: Iterable[Range]) -> Damaged:
    """Return all damage of one disk as one error: what was found first, and every range."""
    lost = joined(ranges)
    message = f"{total(lost)} bytes in {count_of(len(lost), 'place')}: {first.message}"
    error = Damaged(message, ranges=lost[:MOST_RANGES], detail=first.detail)
    error.__cause__ = first
    return error


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
        self._bad: list[Range] = []
        self._first: Damaged | None = None
        self._lock = Lock()

    def run(self, tree: Tree) -> Count:
        """Return when every chunk was read, authenticated and compared with its name.

        Raises:
            Damaged: some of it is lost or damaged: *ranges* says which bytes of the disk, the message what is first.
        """
        for gone in lost_pages(tree):
            self._note(gone)
        plan = plan_restore(with_holes(tree, joined(self._bad)), self._root, self._root.size, self._reader.portion)
        work_together(self._threads, in_groups(self._reader, plan, self._root.chunk_size), self._read)
        if self._first is not None:
            raise told_at_once(self._first, self._bad)
        return self._report.sum()

    def _read(self, thread: int, groups: Iterator[list[Work]]) -> None:
        count, chunk, reader = self._report.counts[thread], self._root.chunk_size, self._reader
        nowhere = memoryview(bytearray(chunk))
        for works in groups:
            self._check()
            with BUFFERS.borrow(span_at_once(reader, chunk)) as (sealed,):
                wanted = [one for work in works for one in only_checked(work, nowhere)]
                read = self._read_all(wanted, Fetcher(reader, chunk, sealed))
            length = sum(work.length for work in works)
            count.read += read
            count.zero += length - read
            self._report.done(thread, length)

    def _read_all(self, wanted: Sequence[Wanted], fetcher: Fetcher) -> int:
        try:
            fetcher.fetch(wanted)
        except Damaged as error:
            self._note(error)
        return sum(len(chunk.view) for chunk in wanted)

    def _note(self, error: Damaged) -> None:
        with self._lock:
            self._first = self._first or error
            self._bad += error.ranges
