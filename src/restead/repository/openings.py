"""Packs looked at by somebody who has the keys: their tables of contents, and everything that stands in them."""

from collections.abc import Iterator, Sequence

from blake3 import blake3

from restead.domain.errors import Damaged, NotFound
from restead.repository.manifest import ROOT_LIMIT
from restead.repository.pack import Place, Thing
from restead.repository.room import Room
from restead.repository.scrub import Spend
from restead.repository.seal import HEADER_SIZE
from restead.repository.tree import PAGE_LIMIT


def check_contents(room: Room, pack: bytes, size: int, spend: Spend) -> list[Thing]:
    """Return a pack's table of contents.  Raises NotFound; Damaged: it does not open, or does not fit the pack."""
    spend(HEADER_SIZE)
    things = room.reader.packs.contents(pack, size)
    at = HEADER_SIZE
    for thing in sorted(things, key=lambda each: each.offset):
        if thing.offset != at:
            raise Damaged(f"{room.shelf.object_name(pack)}: a thing stands at {thing.offset}, {at} expected")
        at += thing.length
    return things


def open_all(room: Room, pack: bytes, size: int, chunk_size: int, spend: Spend) -> None:
    """Read all of a pack once, hash it, and open and name everything in it.

    Memory: what the reader fetches at once, and the largest thing twice.

    Raises:
        NotFound: it is gone.
        Damaged: what is wrong first.
    """
    name = room.shelf.object_name(pack)
    things = check_contents(room, pack, size, spend)
    digest, at = blake3(), 0
    wrong: Damaged | None = None
    opener = _Opener(room, pack, chunk_size)
    for group in _groups(sorted(things, key=lambda each: each.offset), room.reader.whole or room.reader.span):
        end = group[-1].offset + group[-1].length
        data = _read(room, name, at, end, spend)
        digest.update(data)
        for thing in group:
            sealed = memoryview(data)[thing.offset - at : thing.offset - at + thing.length]
            wrong = wrong or opener.wrong(thing, sealed)
        at = end
    digest.update(_read(room, name, at, size, spend))
    if wrong is not None:
        raise wrong
    if digest.digest() != pack:
        raise Damaged(f"{name} is damaged: its {size} bytes hash to {digest.hexdigest()}")


def lost_in(room: Room, pack: bytes, size: int, chunk_size: int, spend: Spend) -> Iterator[bytes]:
    """Yield the names of what does not open in a damaged pack; nothing if nobody can tell what it holds."""
    try:
        things = room.reader.packs.contents(pack, size)
    except (Damaged, NotFound):
        return
    name, opener = room.shelf.object_name(pack), _Opener(room, pack, chunk_size)
    for thing in things:
        try:
            data = _read(room, name, thing.offset, thing.offset + thing.length, spend)
        except (Damaged, NotFound):
            yield thing.name
            continue
        if opener.wrong(thing, memoryview(data)) is not None:
            yield thing.name


def _read(room: Room, name: str, start: int, end: int, spend: Spend) -> bytes:
    spend(end - start)
    return room.shelf.store.get_range(name, start, end - start)


def _groups(things: Sequence[Thing], span: int) -> Iterator[list[Thing]]:
    """Yield neighbours to be read at once: at most *span* bytes, or one thing."""
    group: list[Thing] = []
    for thing in things:
        if group and thing.offset + thing.length - group[0].offset > span:
            yield group
            group = []
        group.append(thing)
    if group:
        yield group


class _Opener:
    """Opens what stands in a pack, one after another in the same memory."""

    def __init__(self, room: Room, pack: bytes, chunk_size: int) -> None:
        self._reader = room.reader
        self._pack = pack
        self._limit = max(chunk_size, PAGE_LIMIT, ROOT_LIMIT)
        self._body, self._out = bytearray(), bytearray()

    def wrong(self, thing: Thing, sealed: memoryview) -> Damaged | None:
        """Return why a thing is not what the table of contents says, None if it is."""
        place = Place(self._pack, thing.offset, thing.length, thing.plain, thing.form)
        if not place.sensible(self._limit):
            return Damaged(f"{self._reader.what(place, thing.kind, thing.name)} would hold {thing.plain} bytes")
        if len(self._body) < thing.length:
            self._body = bytearray(thing.length)
        if len(self._out) < thing.plain:
            self._out = bytearray(thing.plain)
        try:
            out = memoryview(self._out)[: thing.plain]
            self._reader.open(place, thing.kind, thing.name, sealed, self._body, out)
        except Damaged as error:
            return error
        return None
