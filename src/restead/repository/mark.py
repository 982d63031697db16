"""Marking: what manifests need, and which packs hold it.  Memory grows neither with the disks nor with the repository.

Names are spread over files by their first byte; then a 256th of them at a time is compared with the index, which
gives its entries sorted.  What stays in memory is one entry for each pack and each page.
"""

import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Lock

from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.crew import work_together
from restead.repository.pack import Place, unlinked_file
from restead.repository.room import Room
from restead.repository.runs import Hint
from restead.repository.seal import Kind
from restead.repository.tree import PAGE_LIMIT, entries_of

_BUCKETS = 256
_HELD = 64 << 10  # bytes of a bucket in memory


class Spread:
    """Names in 256 buckets, by their first byte; any number of threads.  `close` forgets them."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._held = [bytearray() for _ in range(_BUCKETS)]
        self._files: dict[int, int] = {}
        self._lock = Lock()

    def add(self, names: bytes) -> None:
        """Add names, one after another; zero marks are left out."""
        with self._lock:
            for at in range(0, len(names), NAME_SIZE):
                name = names[at : at + NAME_SIZE]
                if name != ZERO:
                    held = self._held[name[0]]
                    held += name
                    if len(held) >= _HELD:
                        self._spill(name[0])

    def numbers(self) -> set[int]:
        """Return the first bytes of all names."""
        return {number for number, held in enumerate(self._held) if held} | self._files.keys()

    def bucket(self, number: int) -> set[bytes]:
        """Return the names that begin with that byte."""
        names = bytes(self._held[number])
        if number in self._files:
            size = os.fstat(self._files[number]).st_size
            names += os.pread(self._files[number], size, 0)
        return {names[at : at + NAME_SIZE] for at in range(0, len(names), NAME_SIZE)}

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files = {}

    def _spill(self, number: int) -> None:
        if number not in self._files:
            self._files[number] = unlinked_file(self._scratch)
        fd = self._files[number]
        left = memoryview(self._held[number])
        while left:
            left = left[os.pwrite(fd, left, os.fstat(fd).st_size) :]
        self._held[number] = bytearray()


def spread_needed(room: Room, roots: Sequence[bytes], spread: Spread, threads: int, check: Callable[[], None]) -> None:
    """Add the names of these roots and of everything below them.  A page that several have is walked once.

    Raises:
        Damaged: a root or a page is lost or damaged.
    """
    seen: set[bytes] = set()
    for root in dict.fromkeys(roots):
        check()
        spread.add(root)
        tree = room.tree(room.root(root))
        names = [] if tree.root.top == ZERO else [tree.root.top]
        for level in range(tree.levels - 1, -1, -1):
            fresh = [name for name in names if name not in seen]
            seen.update(fresh)
            spread.add(b"".join(fresh))
            names = _below(room, level, fresh, spread, threads, check)


def _below(
    room: Room, level: int, pages: Sequence[bytes], spread: Spread, threads: int, check: Callable[[], None]
) -> list[bytes]:
    """Return the names of the pages below these of *level*; below leaves are chunks, which are added."""
    found: dict[bytes, None] = {}

    def read(_thread: int, names: Iterator[bytes]) -> None:
        for name in names:
            check()
            entries = entries_of(room.reader.thing(Kind.PAGE, name, PAGE_LIMIT), level, f"page {name.hex()}")
            if level == 0:
                spread.add(entries)
            else:
                found.update((entries[at : at + NAME_SIZE], None) for at in range(0, len(entries), NAME_SIZE))

    work_together(threads if len(pages) > 1 else 1, iter(pages), read)
    return [name for name in found if name != ZERO]


@dataclass(slots=True)
class Holdings:
    """Who holds what is needed."""

    total: dict[bytes, int] = field(default_factory=dict)  # pack → sealed bytes that the index knows in it
    things: dict[bytes, int] = field(default_factory=dict)  # pack → things that the index knows in it
    live: dict[bytes, int] = field(default_factory=dict)  # pack → sealed bytes in it that are needed
    stranded: dict[bytes, set[bytes]] = field(default_factory=dict)  # pack → names that only condemned packs hold
    # Names in packs that are worked on, and in others → the place that counts, then those in packs that are worked on.
    doubled: dict[bytes, tuple[Place, ...]] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)  # names that nobody holds, as far as can be seen


class Weighing:
    """Finds who holds the names of a spread.

    *condemned*: packs that do not count as holders.  *working_on*: those of them whose names are to be told of.
    *present*: tells whether the store has a pack.
    """

    def __init__(
        self, condemned: Set[bytes], present: Callable[[bytes], bool], working_on: Set[bytes] = frozenset()
    ) -> None:
        self._condemned = condemned
        self._present = present
        self._working_on = working_on
        self._found = Holdings()

    def run(self, spread: Spread, records: Iterator[bytes], check: Callable[[], None]) -> Holdings:
        """*records*: the entries of the index, encoded, sorted by name."""
        left = spread.numbers()
        for number, held in groupby(records, key=lambda record: record[0]):
            check()
            needed = spread.bucket(number) if number in left else set()
            left.discard(number)
            self._weigh_all(needed, held)
            self._found.missing += needed
        for number in sorted(left):
            self._found.missing += spread.bucket(number)
        return self._found

    def _weigh_all(self, needed: set[bytes], records: Iterator[bytes]) -> None:
        """Take out of *needed* what the index knows."""
        for name, entries in groupby(records, key=lambda record: record[:NAME_SIZE]):
            places = {Hint.decode(entry).place for entry in entries}  # an entry may be there twice
            for place in places:
                self._found.total[place.pack] = self._found.total.get(place.pack, 0) + place.length
                self._found.things[place.pack] = self._found.things.get(place.pack, 0) + 1
            if name in needed:
                needed.discard(name)
                self._weigh(name, sorted(places))

    def _weigh(self, name: bytes, places: Sequence[Place]) -> None:
        # Of several holders one counts, the same for everybody who looks: the others become garbage.
        going = [place for place in places if place.pack in self._working_on]
        for place in places:
            if place.pack not in self._condemned and self._present(place.pack):
                self._found.live[place.pack] = self._found.live.get(place.pack, 0) + place.length
                if going:
                    self._found.doubled[name] = (place, *going)
                return
        if going:
            self._found.stranded.setdefault(going[0].pack, set()).add(name)
            if len(going) > 1:
                self._found.doubled[name] = tuple(going)
            return
        if not any(self._present(place.pack) for place in places):
            self._found.missing.append(name)
