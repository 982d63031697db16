"""The chunks of a disk in the order in which they are stored, so that one request fetches many.

A backup's threads fill a pack each, so neighbours on the disk are in turn in several packs.  Where each request takes
long, or costs the store much, the names of a longer stretch are looked up together and put in groups of neighbours in
the packs; whoever works on a group needs memory for that group alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.pack import Place
from restead.repository.reader import GAP, Reader, Wanted, neighbours
from restead.repository.tree import FANOUT

STRETCH = 16  # groups that are looked up together


@dataclass(frozen=True, slots=True)
class Work:
    """A run of chunks of one leaf page, or a stretch of zeroes."""

    offset: int  # bytes from the start of the disk
    length: int
    names: bytes = b""  # of its chunks; empty: all zero


def gathered(reader: Reader, works: Iterator[Work], chunk: int, span: int) -> Iterator[list[Work]]:
    """Yield the same work in groups; stretches of zeroes at once, each alone.

    *chunk*: bytes of one; only the last of a disk is shorter.  A group has at most *span* bytes of disk in whole
    chunks, one chunk at the least, and takes one request if its chunks are where the index says.
    """
    single: list[Work] = []
    for work in works:
        if not work.names:
            yield [work]
            continue
        for one in _chunks(work, chunk):
            if one.names.startswith(ZERO):
                yield [one]
            else:
                single.append(one)
        if len(single) * chunk >= STRETCH * span:
            yield from _groups(reader, single, chunk, span)
            single = []
    yield from _groups(reader, single, chunk, span)


def only_checked(work: Work, nowhere: memoryview) -> Iterator[Wanted]:
    """Yield the chunks of a run that are not zero, for who looks at none of them: all in the same memory."""
    chunk = len(nowhere)
    for at in range(0, len(work.names), NAME_SIZE):
        begin = at // NAME_SIZE * chunk
        name = work.names[at : at + NAME_SIZE]
        if name != ZERO:
            yield Wanted(name, work.offset + begin, nowhere[: min(chunk, work.length - begin)])


def _chunks(work: Work, chunk: int) -> Iterator[Work]:
    """Yield each chunk of a run by itself, zeroes that follow each other together."""
    zeroes = 0
    count = len(work.names) // NAME_SIZE
    for at in range(count + 1):
        name = work.names[at * NAME_SIZE : (at + 1) * NAME_SIZE]
        if name == ZERO:
            zeroes += 1
            continue
        if zeroes:
            yield _part(work, at - zeroes, at, chunk)
            zeroes = 0
        if at < count:
            yield _part(work, at, at + 1, chunk)


def _part(work: Work, first: int, stop: int, chunk: int) -> Work:
    end = min(stop * chunk, work.length)
    return Work(work.offset + first * chunk, end - first * chunk, work.names[first * NAME_SIZE : stop * NAME_SIZE])


def _groups(reader: Reader, works: Sequence[Work], chunk: int, span: int) -> Iterator[list[Work]]:
    places = reader.places(work.names for work in works)
    known: list[tuple[Place, Work]] = [(places[work.names], work) for work in works if work.names in places]
    known.sort(key=lambda pair: pair[0][:2])
    most = max(1, span // chunk)
    for group in neighbours(known, span + GAP):
        for at in range(0, len(group), most):
            yield _joined([work for _, work in group[at : at + most]], chunk)
    for work in works:
        if work.names not in places:  # whoever fetches it looks harder
            yield [work]


def _joined(works: Sequence[Work], chunk: int) -> list[Work]:
    """Return the same in runs of one leaf page, as few as possible, in disk order."""
    runs: list[Work] = []
    for work in sorted(works, key=lambda each: each.offset):
        last = runs[-1] if runs else None
        if last is not None and last.offset + last.length == work.offset and work.offset % (FANOUT * chunk):
            runs[-1] = Work(last.offset, last.length + work.length, last.names + work.names)
        else:
            runs.append(work)
    return runs
