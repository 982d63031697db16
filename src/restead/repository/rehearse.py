"""All that a restore needs fetched and verified before anything is overwritten; and what it would do, counted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Lock

from restead.domain.errors import Damaged
from restead.repository.buffers import BUFFERS
from restead.repository.chunk import ZERO
from restead.repository.crew import work_together
from restead.repository.crossing import Crossing
from restead.repository.desk import Desk
from restead.repository.difference import Change
from restead.repository.gather import Work, gathered, only_checked
from restead.repository.holes import with_holes
from restead.repository.progress import Count, Report
from restead.repository.ranges import Range, joined
from restead.repository.reader import Fetcher
from restead.repository.restore import span_at_once
from restead.repository.verify import told_at_once


class Rehearsing:
    """All that is needed for a rewriting fetched and verified, nothing written."""

    def __init__(self, crossing: Crossing, *, compare: bool, unpack: bool, gone: Sequence[Damaged]) -> None:
        """*compare*: the target is read once more where it differs, so that the numbers are exact.

        *unpack*: also what was sealed wrongly is found.  *gone*: pages that are known to be lost.
        """
        self._crossing = crossing
        self._compare = compare
        self._unpack = unpack
        self._report = Report(crossing.window.restore_threads + 1, crossing.size, crossing.progress)
        self._gone = gone
        self._bad: list[Range] = [each for one in gone for each in one.ranges]
        self._first: Damaged | None = gone[0] if gone else None
        self._lock = Lock()

    def run(self) -> Count:
        """Return what a rewriting would do.

        Raises:
            Damaged: with all *ranges* of the disk for which something is lost or damaged.
        """
        self._crossing.check_size()
        if self._gone:
            self._crossing = replace(self._crossing, want=with_holes(self._crossing.want, joined(self._bad)))
        threads, reader, chunk = self._crossing.window.restore_threads, self._crossing.reader, self._crossing.chunk
        if reader.whole and not self._unpack:
            work_together(threads, gathered(reader, self._needed(), chunk, reader.whole), self._authenticate)
        else:
            work_together(threads, self._plan(), self._rehearse)
        if self._first is not None:
            raise told_at_once(self._first, self._bad)
        return self._report.sum()

    def _plan(self) -> Iterator[Change]:
        at = 0
        for portion in self._crossing.portions():
            start, at = at, self._crossing.end(portion)
            if isinstance(portion, Change) and portion.runs:
                yield portion
            else:
                self._report.counts[-1].kept += at - start
                self._report.done(self._crossing.window.restore_threads, at - start)

    def _rehearse(self, thread: int, portions: Iterator[Change]) -> None:
        count = self._report.counts[thread]
        for change in portions:
            self._crossing.check()
            with self._crossing.desk() as desk:
                try:
                    count.read += desk.fetch(change, unpack=self._unpack)
                except Damaged as error:
                    self._note(error)
                written = sum(self._compared(desk, change, start, stop, count) for start, stop in change.runs)
            length = desk.length(change, 0, change.count)
            count.kept += length - written
            self._report.done(thread, length)

    def _needed(self) -> Iterator[Work]:
        """Yield all that is to be fetched, and count it; what is to be zero needs nothing."""
        count, end, chunk = self._report.counts[-1], self._crossing.want.root.size, self._crossing.chunk
        for change in self._plan():
            length = self._crossing.end(change) - change.first * chunk
            count.kept += length
            for at in (at for start, stop in change.runs for at in range(start, stop)):
                offset = (change.first + at) * chunk
                size, name = min(chunk, self._crossing.size - offset), change.want_at(at)
                count.kept -= size
                if name == ZERO:
                    count.zero += size
                else:
                    count.written += size
                    yield Work(offset, min(chunk, end - offset), name)
            self._report.done(self._crossing.window.restore_threads, length)

    def _authenticate(self, thread: int, groups: Iterator[list[Work]]) -> None:
        """Read and authenticate chunks, none of which is unpacked: they need no memory of their own."""
        chunk, reader = self._crossing.chunk, self._crossing.reader
        nowhere = memoryview(bytearray(chunk))
        for works in groups:
            self._crossing.check()
            wanted = [one for work in works for one in only_checked(work, nowhere)]
            with BUFFERS.borrow(span_at_once(reader, chunk)) as (sealed,):
                try:
                    Fetcher(reader, chunk, sealed).fetch(wanted, unpack=False)
                    self._report.counts[thread].read += sum(work.length for work in works)
                except Damaged as error:
                    self._note(error)

    def _compared(self, desk: Desk, change: Change, start: int, stop: int, count: Count) -> int:
        if self._compare:
            desk.read(self._crossing.target, change, start, stop)
        written = 0
        for begin, end, zero in desk.pieces(change, start, stop, blind=not self._compare):
            written += end - begin
            if zero:
                count.zero += end - begin
            else:
                count.written += end - begin
        return written

    def _note(self, error: Damaged) -> None:
        with self._lock:
            self._first = self._first or error
            self._bad += error.ranges


def pieces_of_data(crossing: Crossing) -> Iterator[Range]:
    """Yield (offset, length) of all that a rewriting will write and that is to hold data.  Raises Damaged."""
    for portion in crossing.portions():
        if not isinstance(portion, Change) or not portion.runs:
            continue
        crossing.check()
        with crossing.desk() as desk:
            desk.fetch(portion)
            for start, stop in portion.runs:
                desk.read(crossing.target, portion, start, stop)
                for begin, end, zero in desk.pieces(portion, start, stop, blind=False):
                    if not zero:
                        yield portion.first * desk.chunk + begin, end - begin
