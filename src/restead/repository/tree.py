"""Page trees: what stands at every position of a disk, as names of names.

A leaf page lists up to 1,024 chunks, a page of level n lists up to 1,024 pages of level n - 1; the last page of a
level is shorter.  An all-zero subtree is the zero mark at every level, and stored nowhere.  A page does not say
where it stands, so equal page names mean equal bytes and equal pages are stored once.

Whatever walks a tree here holds one page for each level: 32 KiB for each factor of 1,024.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from threading import Lock

from restead.domain.errors import Damaged
from restead.repository.ahead import ahead_of
from restead.repository.chunk import NAME_SIZE, ZERO, Names
from restead.repository.manifest import Root
from restead.repository.seal import Kind

FANOUT = 1024
_HEAD = struct.Struct(">BxxxI")  # level, number of entries
PAGE_LIMIT = _HEAD.size + FANOUT * NAME_SIZE  # bytes of the largest page


def page_counts(chunks: int) -> list[int]:
    """Return the number of pages of each level, leaves first, of a disk of so many chunks; empty for an empty disk."""
    counts: list[int] = []
    while chunks and (not counts or chunks > 1):
        chunks = -(-chunks // FANOUT)
        counts.append(chunks)
    return counts


def encode_page(level: int, entries: bytes | bytearray) -> bytes:
    """Return the bytes of a page; *entries* is names one after another."""
    return _HEAD.pack(level, len(entries) // NAME_SIZE) + entries


def decode_page(page: bytes, level: int, count: int, what: str) -> bytes:
    """Return the entries of a page.  Raises Damaged unless it has exactly this level and number of entries."""
    if len(page) < _HEAD.size or _HEAD.unpack_from(page) != (level, count):
        raise Damaged(f"{what} is no page of level {level} with {count} entries")
    entries = page[_HEAD.size :]
    if len(entries) != count * NAME_SIZE or not any(entries):
        raise Damaged(f"{what} holds {len(entries)} bytes of names, expected {count * NAME_SIZE}, not all zero")
    return entries


def entries_of(page: bytes, level: int, what: str) -> bytes:
    """Return the entries of a page of that level, however many.  Raises Damaged if it is none."""
    count = _HEAD.unpack_from(page)[1] if len(page) >= _HEAD.size else -1
    return decode_page(page, level, count, what)


def _entry(entries: bytes, at: int) -> bytes:
    return entries[at * NAME_SIZE : (at + 1) * NAME_SIZE]


Keep = Callable[[int, int, bytes, bytes], None]  # level, index of the page, its name, its bytes: it is finished


class TreeBuilder:
    """Takes entries in any order, from any threads, and hands out each page as soon as it is finished.

    Each position must be given exactly once.  *keep* is called outside of any lock, by the thread that gave the
    last entry.  Memory: the pages that are begun, which are few if positions come roughly in order.
    """

    def __init__(self, chunks: int, names: Names) -> None:
        self._sizes = [chunks, *page_counts(chunks)]  # number of entries of each level; the last is one: the top
        self._names = names
        self._open: dict[tuple[int, int], tuple[bytearray, list[int]]] = {}
        self._lock = Lock()
        self._top = ZERO if chunks == 0 else None

    @property
    def top(self) -> bytes:
        """The name of the whole tree, or the zero mark.  Raises Damaged while positions are missing."""
        if self._top is None:
            raise Damaged(f"the page tree is not complete: {len(self._open)} pages still lack entries")
        return self._top

    def put(self, first: int, entries: bytes, keep: Keep) -> None:
        """Give the chunk names from position *first* on, all inside one leaf page."""
        self._put(0, first, entries, keep)

    def put_zero(self, first_page: int, count: int, keep: Keep) -> None:
        """Say that *count* whole leaf pages from *first_page* on are zero."""
        while count:
            step = min(count, FANOUT - first_page % FANOUT)
            self._put(1, first_page, ZERO * step, keep)
            first_page, count = first_page + step, count - step

    def put_page(self, level: int, index: int, name: bytes, keep: Keep) -> None:
        """Say that page *index* of *level* has that name, or is zero; levels above the top are the top."""
        level = min(level, len(self._sizes) - 2)
        if level >= 0 and index < self._sizes[level + 1]:
            self._put(level + 1, index, name, keep)

    def _put(self, level: int, first: int, entries: bytes, keep: Keep) -> None:
        """Entries of *level* are names of chunks (0) or of pages of level - 1."""
        while True:
            if level == len(self._sizes) - 1:
                self._top = entries
                return
            index = first // FANOUT
            finished = self._fill(level, index, first % FANOUT, entries)
            if finished is None:
                return
            name = ZERO
            if any(finished):
                page = encode_page(level, finished)
                name = self._names.name(Kind.PAGE, page)
                keep(level, index, name, page)
            level, first, entries = level + 1, index, name

    def so_far(self, keep: Keep) -> bytes:
        """Return the name of a tree that has everything given so far, and zeroes elsewhere.

        Its pages that are not finished are handed to *keep*, too.  Nobody may give entries meanwhile.
        """
        if self._top is not None:
            return self._top
        begun = {place: bytearray(page) for place, (page, _) in self._open.items()}
        for level in range(len(self._sizes) - 1):
            for index in sorted(index for at, index in begun if at == level):
                entries = begun[level, index]
                name = ZERO
                if any(entries):
                    page = encode_page(level, entries)
                    name = self._names.name(Kind.PAGE, page)
                    keep(level, index, name, page)
                if level == len(self._sizes) - 2:
                    return name
                above = (level + 1, index // FANOUT)
                size = min(FANOUT, self._sizes[level + 1] - above[1] * FANOUT)
                at = index % FANOUT * NAME_SIZE
                begun.setdefault(above, bytearray(size * NAME_SIZE))[at : at + NAME_SIZE] = name
        return ZERO  # nothing was given

    def _fill(self, level: int, index: int, at: int, entries: bytes) -> bytearray | None:
        count = len(entries) // NAME_SIZE
        size = min(FANOUT, self._sizes[level] - index * FANOUT)
        with self._lock:
            page, left = self._open.setdefault((level, index), (bytearray(size * NAME_SIZE), [size]))
            page[at * NAME_SIZE : (at + count) * NAME_SIZE] = entries
            left[0] -= count
            if at + count > size or left[0] < 0:
                raise ValueError(f"page {index} of level {level} was given more than its {size} entries")
            if left[0]:
                return None
            del self._open[level, index]
        return page


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive leaf pages: one with its entries, or any number that are zero."""

    first: int  # number of the first leaf page
    count: int
    entries: bytes | None  # names of its chunks; None: all zero


class Tree:
    """A stored page tree.  *read_page* returns the verified bytes of the page of that name.

    *pool*: fetches up to *ahead* pages before they are asked for, where each takes long.
    """

    _KEPT = 16  # pages

    def __init__(
        self, root: Root, read_page: Callable[[bytes], bytes], pool: Executor | None = None, ahead: int = 0
    ) -> None:
        self._sizes = [root.chunks, *page_counts(root.chunks)]
        self._top = root.top
        self._root = root
        self._read = read_page
        self._pool = pool
        self.ahead = ahead if pool else 0
        self._coming: dict[bytes, Future[bytes]] = {}
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    @property
    def root(self) -> Root:
        return self._root

    @property
    def levels(self) -> int:
        """How many levels of pages it has: none for an empty disk."""
        return len(self._sizes) - 1

    def stretches(self) -> Iterator[Stretch]:
        """Yield all leaf pages in order."""
        if len(self._sizes) > 1:
            yield from self._walk(len(self._sizes) - 2, 0, self._top)

    def _walk(self, level: int, index: int, name: bytes) -> Iterator[Stretch]:
        if name == ZERO:
            width = FANOUT**level
            first = index * width
            yield Stretch(first, min(width, self._sizes[1] - first), None)
            return
        entries = self._entries(level, index, name)
        if level == 0:
            yield Stretch(index, 1, entries)
            return
        for at in ahead_of(
            range(len(entries) // NAME_SIZE),
            lambda at: _entry(entries, at) != ZERO,
            lambda at: self.expect(level - 1, index * FANOUT + at),
            self.ahead,
        ):
            yield from self._walk(level - 1, index * FANOUT + at, _entry(entries, at))

    def expect(self, level: int, index: int) -> None:
        """Begin to fetch page *index* of *level*, which will be asked for soon."""
        name = self.name_at(level, index)
        if self._pool is None or name is None or name == ZERO:
            return
        with self._lock:
            if name not in self._kept and name not in self._coming:
                self._coming[name] = self._pool.submit(self._fetch, level, index, name)

    def name_at(self, level: int, index: int) -> bytes | None:
        """Return the name of page *index* of *level*; None where the tree has no such page."""
        if not 0 <= level < len(self._sizes) - 1 or index >= self._sizes[level + 1]:
            return None
        if level == len(self._sizes) - 2:
            return self._top
        above = self.name_at(level + 1, index // FANOUT)
        if above is None or above == ZERO:
            return above
        return _entry(self._entries(level + 1, index // FANOUT, above), index % FANOUT)

    def look(self, level: int, index: int) -> None:
        """Raises Damaged, with what of the disk it means, if page *index* of *level* cannot be read."""
        name = self.name_at(level, index)
        if name is not None and name != ZERO:
            self._entries(level, index, name)

    def tops(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (level, index, name) of whole pages that are proven by their names alone: none but holes."""
        return iter(())

    def proving(self, first: int, names: bytes) -> bytes:  # noqa: ARG002
        """Return the names that prove the chunks from *first* on, where those of *names* stand; nothing: not needed."""
        return names

    def proves(self, level: int, index: int) -> bool:  # noqa: ARG002
        """Tell whether a page takes part in the proof by what stands there."""
        return True

    def leaf(self, index: int) -> bytes:
        """Return the chunk names of leaf page *index*; nothing where it is zero or there is none."""
        name = self.name_at(0, index)
        return b"" if name is None or name == ZERO else self._entries(0, index, name)

    def _entries(self, level: int, index: int, name: bytes) -> bytes:
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
            coming = self._coming.pop(name, None)
        if found is None:
            found = coming.result() if coming is not None else self._fetch(level, index, name)
            with self._lock:
                self._kept[name] = found
                if len(self._kept) > self._KEPT:
                    self._kept.popitem(last=False)
        return found

    def _fetch(self, level: int, index: int, name: bytes) -> bytes:
        count = min(FANOUT, self._sizes[level] - index * FANOUT)
        try:
            return decode_page(self._read(name), level, count, f"page {name.hex()}")
        except Damaged as error:
            width = FANOUT ** (level + 1) * self._root.chunk_size
            lost = index * width, min(width, self._root.size - index * width)
            raise Damaged(error.message, ranges=[lost], detail=error.detail) from error
