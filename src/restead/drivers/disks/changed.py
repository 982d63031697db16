"""Where a disk may hold something else than it did: what bitmaps tell, and the holes that no bitmap notes.

An image that is made smaller and larger again has lost what stood behind the cut: holes are there, and no bitmap tells
of them.  But a byte that is not zero, and was not written since, was in front of every cut.  So the last one that is
found says from where on a hole may be new; those before it are what they were, and need not be looked at.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from restead.drivers.disks.coarse import Stretch, coarsely
from restead.ports import BlockSource

_TRIES = 16  # stretches at the end of the disk in which a byte is looked for that is not zero
_LOOK = 256 << 10  # bytes of each


def changed_in(source: BlockSource, streams: Iterable[Iterable[Stretch]]) -> list[Stretch]:
    """Return all stretches in which the disk may have changed, if the bitmaps' *streams* tell where it was written.

    Raises:
        Unavailable: the disk cannot be read.
    """
    written = coarsely(streams, source.size)
    uncut = _uncut(source, written)
    holes = ((one.offset, one.length) for one in source.extents(uncut, source.size - uncut) if not one.data)
    return coarsely([written, holes], source.size)


def _uncut(source: BlockSource, written: Sequence[Stretch]) -> int:
    """Return a place in front of which the disk was surely never cut; 0 if none is found."""
    buffer = memoryview(bytearray(_LOOK))
    for start, end in reversed(deque(_kept(source, written), maxlen=_TRIES)):
        at = max(start, end - _LOOK)
        part = buffer[: end - at]
        source.read_into(at, part)
        if found := bytes(part).rstrip(b"\0"):
            return at + len(found)
    return 0


def _kept(source: BlockSource, written: Sequence[Stretch]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what may hold data and was not written, in order."""
    stretches = iter([*written, (source.size, 0)])
    begin, length = next(stretches)
    for one in source.extents(0, source.size):
        if not one.data:
            continue
        at = one.offset
        while at < one.end:
            while begin + length <= at and begin < source.size:
                begin, length = next(stretches)
            if begin > at:
                yield at, min(begin, one.end)
            at = max(at, begin + length) if begin < one.end else one.end
