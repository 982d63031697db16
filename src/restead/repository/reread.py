"""Reading a target again and comparing all of it with what it is to hold."""

from collections.abc import Callable, Iterator
from threading import Lock

from restead.domain.errors import Damaged
from restead.ports import BlockSource, ReadsPastCaches
from restead.repository.backup import UNIT, covering
from restead.repository.buffers import BUFFERS, Aligned
from restead.repository.chunk import NAME_SIZE, ZERO, Names
from restead.repository.crew import work_together
from restead.repository.gather import Work
from restead.repository.manifest import Root
from restead.repository.progress import Count, Progress, Report
from restead.repository.restore import plan_restore, unit_size
from restead.repository.tree import Tree
from restead.repository.verify import MOST_RANGES


class Rereading:
    """One target being read again.  A difference does not stop it: all of them are found, then told."""

    def __init__(
        self,
        names: Names,
        root: Root,
        target: BlockSource,
        threads: int,
        progress: Callable[[Progress], None],
        check: Callable[[], None],
        *,
        past_caches: bool,
    ) -> None:
        self._names = names
        self._root = root
        self._target = target
        self._threads = threads
        self._check = check
        self._report = Report(threads, target.size, progress)
        past = past_caches and isinstance(target, ReadsPastCaches)
        self._read = target.reread_into if past and isinstance(target, ReadsPastCaches) else target.read_into
        self._wrong: list[tuple[int, int]] = []
        self._lock = Lock()

    def run(self, tree: Tree) -> Count:
        """Return when every byte of the target was read and is what *tree* names, zero behind its end.

        Raises:
            Damaged: some of it is not: *ranges* says which bytes of the target.
        """
        work_together(self._threads, plan_restore(tree, self._root, self._target.size), self._reread)
        if self._wrong:
            wrong = sum(length for _, length in self._wrong)
            first = min(self._wrong)
            raise Damaged(
                f"{wrong} bytes of the target, from {first[0]} on, are not what was written there",
                ranges=sorted(self._wrong)[:MOST_RANGES],
            )
        return self._report.sum()

    def _reread(self, thread: int, works: Iterator[Work]) -> None:
        for work in works:
            self._check()
            with BUFFERS.borrow(unit_size(self._root.chunk_size)) as (buffer,):
                if work.names:
                    self._reread_unit(work, buffer)
                    self._report.counts[thread].read += work.length
                else:
                    self._reread_zeroes(thread, work, buffer)
            self._report.done(thread, work.length)

    def _reread_unit(self, work: Work, buffer: Aligned) -> None:
        chunk = self._root.chunk_size
        self._read(work.offset, buffer.view[: work.length])
        for at in range(0, len(work.names), NAME_SIZE):
            begin = at // NAME_SIZE * chunk
            length = min(chunk, work.length - begin)
            zero = buffer.is_zero(begin, length)
            found = ZERO if zero else self._names.chunk(buffer.view[begin : begin + length])
            if found != work.names[at : at + NAME_SIZE]:
                self._note(work.offset + begin, length)

    def _reread_zeroes(self, thread: int, work: Work, buffer: Aligned) -> None:
        for extent in covering(self._target, work.offset, work.length):
            for at in range(extent.offset, extent.end, UNIT) if extent.data else ():
                self._check()
                length = min(UNIT, extent.end - at)
                self._read(at, buffer.view[:length])
                self._report.counts[thread].read += length
                if not buffer.is_zero(0, length):
                    self._note(at, length)

    def _note(self, offset: int, length: int) -> None:
        with self._lock:
            self._wrong.append((offset, length))
