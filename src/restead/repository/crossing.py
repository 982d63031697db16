"""From one disk to another: both page trees, the target that is to change, and how the work is cut into portions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from restead.domain.errors import Code, InvalidRequest
from restead.ports import BlockTarget, LimitsSpace
from restead.repository.buffers import BUFFERS
from restead.repository.chunk import ZERO
from restead.repository.desk import Desk
from restead.repository.difference import Change, Same, changes, difference
from restead.repository.progress import Progress
from restead.repository.reader import Reader, span_of
from restead.repository.room import Window
from restead.repository.tree import FANOUT, Tree


@dataclass(frozen=True, slots=True)
class Crossing:
    """From one tree to another on one target."""

    reader: Reader
    have: Tree  # what stands there, where nothing was written yet
    want: Tree
    target: BlockTarget
    window: Window
    progress: Callable[[Progress], None]
    check: Callable[[], None]

    @property
    def size(self) -> int:
        """Bytes of the larger of the two: of the target."""
        return max(self.have.root.size, self.want.root.size)

    @property
    def chunk(self) -> int:
        """Bytes."""
        return self.want.root.chunk_size

    @property
    def chunks(self) -> int:
        return -(-self.size // self.want.root.chunk_size)

    def portions(self) -> Iterator[Same | Change]:
        """Yield everything, in disk order: pages that are the same, and portions of those that are not."""
        step = min(FANOUT, max(1, self.window.portion // self.want.root.chunk_size))
        for page in difference(self.have, self.want):
            if isinstance(page, Same):
                yield page
            else:
                yield from changes(page, step, self.chunks)

    def end(self, portion: Same | Change) -> int:
        """Return the offset behind a portion."""
        chunks: int
        if isinstance(portion, Same):
            chunks = (portion.index + 1) * FANOUT ** (portion.level + 1)
        else:
            chunks = portion.first + portion.count
        return min(chunks * self.want.root.chunk_size, self.size)

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """Lend a desk for one change."""
        chunk = self.want.root.chunk_size
        size = max(self.window.portion, chunk)
        with BUFFERS.borrow(size, size, span_of(chunk, self.window.span)) as buffers:
            limited = isinstance(self.target, LimitsSpace) and self.target.limited
            yield Desk(self.reader, self.have.root, self.want.root, buffers, limited=limited)

    def check_size(self) -> None:
        """Raises InvalidRequest unless the target is as large as it was."""
        if self.target.size != self.size:
            raise InvalidRequest(
                f"the target holds {self.target.size} bytes, it held {self.size} when it was compared",
                code=Code.TARGET_TOO_SMALL,
            )

    def stretches(self, *, zero: bool) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what differs and is to be zero, or is to hold data; neighbours together."""
        chunk = self.want.root.chunk_size
        at = end = 0
        for first, stop in self._runs(zero=zero):
            if first * chunk != end and end > at:
                yield at, end - at
            at = at if first * chunk == end else first * chunk
            end = min(stop * chunk, self.size)
        if end > at:
            yield at, end - at

    def _runs(self, *, zero: bool) -> Iterator[tuple[int, int]]:
        """Yield (first, stop) of chunks that differ and are to be zero, or to hold data."""
        for portion in self.portions():
            if isinstance(portion, Change):
                for start, stop in portion.runs:
                    for at in range(start, stop):
                        if (portion.want_at(at) == ZERO) == zero:
                            yield portion.first + at, portion.first + at + 1
