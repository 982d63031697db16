"""The second half of a restore: turning what stands on a target into what is wanted.

Both are page trees, and only where they differ is anything done: wanted chunks are fetched and verified, compared
with what stands there, and the 4 KiB pieces that differ are written, neighbours by one write.  Zeroes keep the space
they had, so that putting back cannot fail for want of it.  Putting back is the same with the trees exchanged.

A crash at any instant is harmless: whoever goes on from the last mark, or turns round, needs only both trees.
"""

from collections.abc import Iterator

from restead.domain.errors import Damaged
from restead.ports import KeepsSpace
from restead.repository.chunk import NAME_SIZE
from restead.repository.crew import work_together
from restead.repository.crossing import Crossing
from restead.repository.desk import Desk, together
from restead.repository.difference import Change, Same
from restead.repository.manifest import Root
from restead.repository.marks import Marks
from restead.repository.progress import Count, Report
from restead.repository.seal import Kind
from restead.repository.tree import TreeBuilder


class Rewriting:
    """One disk being rewritten.

    *expect*: what stands where it differs must be what *have* says, because nobody of us has written there yet.
    *blind*: a flush has failed, and what is read may not be what the disk holds: all that differs is written.
    *after*: up to there everything was done and marked before.  *later*: an earlier life has written here; should a
    flush of its have failed, the cache shows what the medium may not hold, and neither is believed without the other.
    """

    def __init__(
        self, crossing: Crossing, marks: Marks, *, after: int, expect: bool, blind: bool, later: bool
    ) -> None:
        self._crossing = crossing
        self._target = crossing.target
        self._marks = marks
        self._after = after
        self._expect = expect
        self._blind = blind
        self._later = later
        self._root = crossing.want.root
        self._proof = TreeBuilder(self._root.chunks, crossing.reader.names)
        self._report = Report(crossing.window.restore_threads + 1, crossing.size, crossing.progress)

    def run(self, root_name: bytes) -> Count:
        """Write all that differs, flush it, mark it, and prove that nothing was left out.

        Raises:
            Damaged: something that is needed is lost or damaged, or somebody else has written to the target.
            Unavailable: the target or the store did not answer.
        """
        self._crossing.check_size()
        for level, index, name in self._crossing.want.tops():
            self._proof.put_page(level, index, name, _keep_nothing)
        work_together(self._crossing.window.restore_threads, self._plan(), self._rewrite)
        self._crossing.check()
        self._marks.settle()
        root = Root(self._root.size, self._root.chunk_size, self._proof.top, self._root.description)
        name = self._crossing.reader.names.name(Kind.ROOT, root.encode())
        if name != root_name:
            raise Damaged(f"what stands on the target now is {name.hex()}, wanted is {root_name.hex()}")
        return self._report.sum()

    def _plan(self) -> Iterator[Change]:
        """Yield what is to be done, in disk order.  Only one thread is in here at a time."""
        at = 0
        for portion in self._crossing.portions():
            start, at = at, self._crossing.end(portion)
            if isinstance(portion, Same):
                if self._crossing.want.proves(portion.level, portion.index):
                    self._proof.put_page(portion.level, portion.index, portion.name, _keep_nothing)
            elif at > self._after and portion.runs:
                self._marks.begin(start, at)
                yield portion
                continue
            else:
                self._prove(portion)
            self._report.counts[-1].kept += at - start
            self._report.done(self._crossing.window.restore_threads, at - start)
            self._marks.reach(at)

    def _rewrite(self, thread: int, portions: Iterator[Change]) -> None:
        count = self._report.counts[thread]
        for change in portions:
            self._crossing.check()
            with self._crossing.desk() as desk:
                count.read += desk.fetch(change)
                written = sum(self._write(desk, change, start, stop, count) for start, stop in change.runs)
            length = desk.length(change, 0, change.count)
            count.kept += length - written
            self._prove(change)
            self._marks.done(change.first * desk.chunk)
            self._report.done(thread, length)

    def _write(self, desk: Desk, change: Change, start: int, stop: int, count: Count) -> int:
        """Write the pieces of one run of chunks that differ; return how many bytes."""
        written = 0
        for begin, end, zero in self._pieces(desk, change, start, stop):
            self._crossing.check()
            self._marks.about_to_write(end - begin)
            offset = change.first * desk.chunk + begin
            if zero and isinstance(self._target, KeepsSpace):
                self._target.blank_at(offset, end - begin)
            else:
                self._target.write_at(offset, desk.there.view[begin:end])
            written += end - begin
            if zero:
                count.zero += end - begin
            else:
                count.written += end - begin
        return written

    def _pieces(self, desk: Desk, change: Change, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (begin, end, zero) of what must be written of one run of chunks, in bytes of the buffers."""
        if self._blind:
            return desk.pieces_apart(change, start, stop)
        desk.read(self._target, change, start, stop)
        if self._expect:
            desk.expect(change, start, stop)
        if not self._later:
            return desk.pieces(change, start, stop, blind=False)
        runs = list(desk.pieces(change, start, stop, blind=False))
        desk.read(self._target, change, start, stop, past_caches=True)
        return together([*runs, *desk.pieces(change, start, stop, blind=False)])

    def _prove(self, change: Change) -> None:
        """Note the names of a portion: those that were kept and those that were written are the wanted ones now."""
        names = change.want[: max(0, self._root.chunks - change.first) * NAME_SIZE]
        names = self._crossing.want.proving(change.first, names) if names else names
        if names:
            self._proof.put(change.first, names, _keep_nothing)


def _keep_nothing(level: int, index: int, name: bytes, page: bytes) -> None:
    """A proof needs names only."""

