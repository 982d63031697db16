"""The index: name → where its bytes are stored.  Hints, never truth.

In the store it is immutable sealed runs, each put after the packs it speaks of; here it is looked up in a local copy.
Lost runs are made again from the packs' tables of contents.  docs/format.md describes a run byte by byte.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from restead.domain.errors import Damaged, NotFound, Unavailable
from restead.repository.ahead import fetched_ahead
from restead.repository.cache import IndexCache
from restead.repository.chunk import Form
from restead.repository.pack import PackReader, Place, Shelf
from restead.repository.runs import BrokenRun, Hint
from restead.repository.seal import Kind, seal, unseal

RUN_ENTRIES = 65_536  # most entries of one index object: 3 MB, sealed and opened at once
_LISTINGS = 5  # of index objects that go away between listing and reading
_UNDER_WAY = 16 << 20  # bytes of index objects that are fetched ahead
_MANY = 8  # small index objects that are worth becoming one
_COUNTS = struct.Struct(">II")  # packs, entries
_ENTRY = struct.Struct(">32sIIIIB")  # name, number of the pack in the list above, offset, sealed and plain length, form
_JOINED = struct.Struct(">32sI13s")  # the same: name, number of the pack, and what an entry of the cache ends in
_PACK = 32
_FORMS = frozenset(Form)


def encode_run(entries: Sequence[Hint]) -> bytes:
    """Return the plain bytes of an index object; *entries* need not be sorted."""
    packs = sorted({entry.place.pack for entry in entries})
    numbers = {pack: number for number, pack in enumerate(packs)}
    lines = sorted(_ENTRY.pack(entry.name, numbers[entry.place.pack], *entry.place[1:]) for entry in entries)
    return _COUNTS.pack(len(packs), len(lines)) + b"".join(packs) + b"".join(lines)


def decode_run(plain: bytes, what: str) -> Iterator[Hint]:
    """Yield the entries of an index object.  Raises Damaged if it is none."""
    return map(Hint.decode, records_of(plain, what))


def records_of(plain: bytes, what: str) -> Iterator[bytes]:
    """Yield the entries of an index object as the cache keeps them, sorted.  Raises Damaged if it is none."""
    packs, count = _COUNTS.unpack_from(plain) if len(plain) >= _COUNTS.size else (0, -1)
    start = _COUNTS.size + packs * _PACK
    if len(plain) != start + count * _ENTRY.size:
        raise Damaged(f"{what} holds {len(plain)} bytes, it says {packs} packs and {count} entries")
    if unknown := set(plain[start + _ENTRY.size - 1 :: _ENTRY.size]) - _FORMS:
        raise Damaged(f"{what} has entries of form {min(unknown)}")
    names = [plain[at : at + _PACK] for at in range(_COUNTS.size, start, _PACK)]
    last = b""
    for name, pack, rest in _JOINED.iter_unpack(memoryview(plain)[start:]):
        if pack >= packs:
            raise Damaged(f"{what} has an entry with pack {pack} of {packs}")
        record = name + names[pack] + rest
        if record < last:
            raise Damaged(f"{what} is not sorted: {name.hex()} comes too late")
        yield record
        last = record


def pack_of(name: str) -> bytes:
    """Return the digest that a pack is named by.  Raises Damaged if it is no such name."""
    digits = name.rpartition("/")[2]
    if len(digits) != 2 * _PACK or not set(digits) <= set("0123456789abcdef"):
        raise Damaged(f"{name} is no name of a pack: somebody else put it there")
    return bytes.fromhex(digits)


@dataclass(slots=True)
class _Batch:
    """Index objects that may become one."""

    objects: list[str] = field(default_factory=list)
    kept: dict[bytes, Hint] = field(default_factory=dict)  # equal entries once
    dropped: bool = False

    def take(self, name: str, left: Sequence[Hint], *, dropped: bool) -> None:
        self.objects.append(name)
        self.kept.update((entry.encode(), entry) for entry in left)
        self.dropped = self.dropped or dropped

    @property
    def worth_replacing(self) -> bool:
        return self.dropped or len(self.objects) >= _MANY


class Index:
    """The index of one project, for any number of threads."""

    def __init__(self, shelf: Shelf, folder: Path, *, ahead: int = 0) -> None:
        self._shelf = shelf
        self._ahead = ahead
        self._prefix = f"index/{shelf.tag}/"
        self.folder = folder / shelf.repository_id.hex() / shelf.tag  # of what this machine keeps of it
        self._cache = IndexCache(self.folder)

    def find(self, name: bytes) -> list[Place]:
        """Return every place where *name* is said to be stored; nothing if none is known."""
        try:
            return self._cache.find(name)
        except BrokenRun:
            self._cache.clear()
            self.refresh()
            return self._cache.find(name)

    def find_many(self, names: Iterable[bytes]) -> list[tuple[bytes, Place]]:
        """Return all places known for these names, together: many in one pass cost a fraction of as many `find`."""
        wanted = sorted(set(names))
        try:
            return list(self._cache.find_many(wanted))
        except BrokenRun:
            self._cache.clear()
            self.refresh()
            return list(self._cache.find_many(wanted))

    def refresh(self) -> None:
        """Know what the store's index objects say now.  Raises Damaged, naming the object."""
        for _ in range(_LISTINGS):
            sizes = dict(self._shelf.store.list(self._prefix))
            if self._cache.match(frozenset(sizes), partial(self._records, sizes)):
                return  # else a collection has replaced some of them by others that this listing does not show

    def check(self) -> Iterator[tuple[str, Damaged]]:
        """Read every index object of the store, and yield what is wrong, with the object's name."""
        for name, sealed in self._fetched():
            try:
                for _ in self._opened(name, sealed):
                    pass
            except Damaged as error:
                yield name, error

    def add(self, entries: Sequence[Hint]) -> None:
        """Store entries of packs that are durable, so that every session that opens later knows them."""
        for start in range(0, len(entries), RUN_ENTRIES):
            part = entries[start : start + RUN_ENTRIES]
            name = f"{self._prefix}{os.urandom(16).hex()}"
            sealed = seal(self._shelf.keys, self._shelf.repository_id, Kind.INDEX, name.encode(), encode_run(part))
            self._shelf.store.put(name, sealed)
            self._cache.add(part, name)

    def records(self) -> Iterator[bytes]:
        """Yield all entries as the last `refresh` saw them, encoded (`runs.Hint`), sorted by name."""
        try:
            yield from self._cache.records()
        except BrokenRun as error:
            self._cache.clear()
            raise Unavailable(f"the cache of the index was damaged and is made anew: {error}") from error

    def drop(self, packs: Set[bytes], check: Callable[[], None]) -> None:
        """Let no index object speak of these packs; small objects become large ones on the way.

        Whoever reads at any moment finds every other entry at least once.  Memory: one index object.
        """
        batch = _Batch()
        for name, sealed in self._fetched():
            check()
            entries = list(map(Hint.decode, self._opened(name, sealed)))
            left = [entry for entry in entries if entry.place.pack not in packs]
            dropped = len(left) < len(entries)
            if dropped or len(entries) < RUN_ENTRIES // 2:
                if len(batch.kept) + len(left) > RUN_ENTRIES:
                    self._replace(batch)
                    batch = _Batch()
                batch.take(name, left, dropped=dropped)
        self._replace(batch)

    def _replace(self, batch: "_Batch") -> None:
        if batch.worth_replacing:
            self.add(list(batch.kept.values()))  # before the old ones go: nobody may miss an entry
            for name in batch.objects:
                self._shelf.store.delete(name)

    def rebuild(self, packs: PackReader) -> None:
        """Store the entries of everything in every pack that is not in the index.  Memory: one index object.

        A pack whose table of contents does not open is passed over: what only it holds stays unknown.
        """
        missing: list[Hint] = []
        for name, size in self._shelf.store.list(self._shelf.prefix):
            try:
                pack = pack_of(name)
            except Damaged:
                continue  # somebody else put it there
            missing += self._unknown(packs, pack, size)
            if len(missing) >= RUN_ENTRIES:
                self.add(missing)
                missing = []
        self.add(missing)

    def _unknown(self, packs: PackReader, pack: bytes, size: int) -> list[Hint]:
        try:
            contents = packs.contents(pack, size)
        except (NotFound, Damaged):  # a collection was faster; or nobody can tell what it holds
            return []
        hints = [Hint(one.name, Place(pack, one.offset, one.length, one.plain, one.form)) for one in contents]
        # A pack's entries are put one after another, into two objects at most: the first and the last speak for all.
        ends = hints[:1] + hints[-1:]
        return [] if all(hint.place in self.find(hint.name) for hint in ends) else hints

    def _records(self, sizes: Mapping[str, int], names: Iterable[str]) -> Iterator[tuple[str, Iterator[bytes] | None]]:
        """Yield these index objects with their entries, None if one is not there any more."""
        for name, sealed in self._get(sizes, names):
            yield name, None if sealed is None else self._opened(name, sealed)

    def _fetched(self) -> Iterator[tuple[str, bytes]]:
        """Yield all index objects with their bytes, but those that a collection removes meanwhile."""
        sizes = dict(self._shelf.store.list(self._prefix))
        for name, sealed in self._get(sizes, sorted(sizes)):
            if sealed is not None:
                yield name, sealed

    def _get(self, sizes: Mapping[str, int], names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        items = [(name, sizes[name]) for name in names]
        return fetched_ahead(items, self._if_there, count=self._ahead, budget=_UNDER_WAY)

    def _if_there(self, name: str) -> bytes | None:
        try:
            return self._shelf.store.get(name)
        except NotFound:
            return None

    def _opened(self, name: str, sealed: bytes) -> Iterator[bytes]:
        plain = unseal(self._shelf.keys, self._shelf.repository_id, Kind.INDEX, name.encode(), sealed)
        return records_of(plain, name)
