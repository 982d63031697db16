"""What one thread needs to turn a disk's chunks into others: memory for both, and the way to the wanted ones."""

from collections.abc import Iterator, Sequence

from restead.domain.errors import Damaged
from restead.ports import BlockTarget, ReadsPastCaches
from restead.repository.backup import covering
from restead.repository.buffers import Aligned
from restead.repository.chunk import ZERO
from restead.repository.difference import Change
from restead.repository.manifest import Root
from restead.repository.reader import Fetcher, Reader, Wanted

PIECE = 4096  # bytes: what is compared, and the least that is written
_APART = 64 << 10  # bytes: what an image's clusters are


class Desk:
    """Two buffers for one change: *here* for what stands on the target, *there* for what is wanted."""

    def __init__(
        self, reader: Reader, have: Root, want: Root, buffers: Sequence[Aligned], *, limited: bool = False
    ) -> None:
        """*limited*: the target has so much space and no more: zeroes take none of it."""
        self.chunk = want.chunk_size
        self.here, self.there, sealed = buffers
        self._names = reader.names
        self._have = have
        self._want = want
        self._total = max(have.size, want.size)
        # On a disk that was all zero nothing is to be kept: whole chunks are written, by far fewer writes.
        self._step = self.chunk if have.top == ZERO and not limited else min(PIECE, self.chunk)
        self._fetcher = Fetcher(reader, self.chunk, sealed)

    def length(self, change: Change, start: int, stop: int) -> int:
        """Return the bytes of those chunks of a change: the last chunk of a disk may be short."""
        return min((change.first + stop) * self.chunk, self._total) - (change.first + start) * self.chunk

    def fetch(self, change: Change, *, unpack: bool = True) -> int:
        """Have the verified wanted bytes of all that differs *there*; return how many were fetched.

        Without *unpack* they are read and authenticated only.

        Raises:
            Damaged: with the ranges of the disk that need what is lost.
        """
        wanted: list[Wanted] = []
        for start, stop in change.runs:
            for at in range(start, stop):
                offset, begin = (change.first + at) * self.chunk, at * self.chunk
                size = min(self.chunk, max(0, self._want.size - offset)) if change.want_at(at) != ZERO else 0
                self.there.clear(begin + size, self.length(change, at, at + 1) - size)
                if size:
                    wanted.append(Wanted(change.want_at(at), offset, self.there.view[begin : begin + size]))
        self._fetcher.fetch(wanted, unpack=unpack)
        return sum(len(one.view) for one in wanted)

    def read(self, target: BlockTarget, change: Change, start: int, stop: int, *, past_caches: bool = False) -> None:
        """Have what stands on the target *here*, of one run of chunks."""
        offset, begin = (change.first + start) * self.chunk, start * self.chunk
        length = self.length(change, start, stop)
        hole = all(change.have_at(at) == ZERO for at in range(start, stop))
        if hole and not any(extent.data for extent in covering(target, offset, length)):
            self.here.clear(begin, length)
        elif past_caches and isinstance(target, ReadsPastCaches):
            target.reread_into(offset, self.here.view[begin : begin + length])
        else:
            target.read_into(offset, self.here.view[begin : begin + length])

    def expect(self, change: Change, start: int, stop: int) -> None:
        """Make sure that what is *here* is what was there before.

        Raises:
            Damaged: somebody else has written to the target.
        """
        for at in range(start, stop):
            begin, length = at * self.chunk, self.length(change, at, at + 1)
            offset, name = begin + change.first * self.chunk, change.have_at(at)
            size = 0 if name == ZERO else min(self.chunk, max(0, self._have.size - offset))
            found = self._names.chunk(self.here.view[begin : begin + size]) if size else ZERO
            if found != name or not self.here.is_zero(begin + size, length - size):
                raise Damaged(
                    f"bytes {offset} to {offset + length} of the target are not what was read there before: "
                    f"somebody else has written to it",
                    ranges=[(offset, length)],
                )

    def pieces(self, change: Change, start: int, stop: int, *, blind: bool) -> Iterator[tuple[int, int, bool]]:
        """Yield (begin, end, zero) of what must be written of one run of chunks, in bytes of the buffers.

        *blind*: what is *here* is not believed; everything is to be written.
        """
        for first, last, zero in _alike(change, start, stop):
            begin = first * self.chunk
            end = begin + self.length(change, first, last)
            if blind:
                yield begin, end, zero
            else:
                for one, other in self.here.unlike(self.there, begin, end, self._step):
                    yield one, other, zero

    def pieces_apart(self, change: Change, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """As `pieces`, blind, with the zeroes inside chunks apart: in a hole they find their place without space.

        What is wanted has to be *there*.
        """
        for begin, end, zero in self.pieces(change, start, stop, blind=True):
            if zero:
                yield begin, end, True
            else:
                yield from self._apart(begin, end)

    def _apart(self, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
        start, zero = begin, False
        for at in range(begin, end, _APART):
            blank = self.there.is_zero(at, min(_APART, end - at))
            if blank != zero and at > start:
                yield start, at, zero
                start = at
            zero = blank
        if end > start:
            yield start, end, zero


def together(runs: Sequence[tuple[int, int, bool]]) -> Iterator[tuple[int, int, bool]]:
    """Yield runs of pieces, found by several readings, as few as cover them all."""
    begin = end = 0
    zero = False
    for one, other, blank in sorted(runs):
        if one > end or blank != zero or begin == end:
            if end > begin:
                yield begin, end, zero
            begin, end, zero = max(one, end), max(other, end), blank
        end = max(end, other)
    if end > begin:
        yield begin, end, zero


def _alike(change: Change, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, stop, zero) of runs of chunks that are all to be zero or all to hold data."""
    zeroes = [change.want_at(at) == ZERO for at in range(start, stop)]
    begin = 0
    for at in range(1, len(zeroes) + 1):
        if at == len(zeroes) or zeroes[at] != zeroes[begin]:
            yield start + begin, start + at, zeroes[begin]
            begin = at
