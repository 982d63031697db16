"""Reading things back: found through the index, fetched in large ranges, authenticated, checked against their names.

Nothing leaves this file that is not exactly what was named.  A thing may stand in several places: it is lost only
when none of them holds it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from restead.domain.errors import Damaged, NotFound
from restead.repository.buffers import Aligned
from restead.repository.chunk import Form, Names, expand
from restead.repository.index import Index
from restead.repository.lost import LostThings
from restead.repository.pack import PackReader, Place
from restead.repository.ranges import joined
from restead.repository.seal import TAG_SIZE, Kind

GAP = 32 << 10  # bytes; stored ranges this close are fetched as one
SPAN = 4 << 20  # bytes; the most that is fetched at once, if a single chunk is not longer
PORTION = 2 << 20  # bytes of a disk that one thread works on at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """A chunk that is wanted: its name, and memory of exactly its size for its bytes."""

    name: bytes
    offset: int  # bytes from the start of the disk
    view: memoryview


class Reader:
    """Reads one project's things, for any number of threads."""

    def __init__(
        self,
        packs: PackReader,
        index: Index,
        names: Names,
        lost: LostThings,
        *,
        portion: int = PORTION,
        span: int = SPAN,
        whole: int = 0,
    ) -> None:
        """*whole*: bytes of a disk that one thread works on at once where all of it is read; 0: as *portion*."""
        self.packs = packs
        self.portion = portion  # bytes of a disk that one thread works on at once
        self.span = span
        self.whole = whole
        self.names = names
        self._index = index
        self._known_lost = lost
        self._gone: set[bytes] = set()  # packs that the store did not have when they were asked for
        self._bad: dict[tuple[bytes, int], Damaged] = {}  # (pack, offset) of what is not what the index says
        self._looked_again = False  # for other copies of what is damaged
        self._recovering = Lock()
        self._recovered = False

    def thing(self, kind: Kind, name: bytes, limit: int) -> bytes:
        """Return the bytes of a page or a root, at most *limit* of them.

        Raises:
            Damaged: no pack holds what was named.
        """
        while True:
            place = self.place(kind, name)
            try:
                if not place.sensible(limit):
                    what = self.what(place, kind, name)
                    raise Damaged(f"{what} would hold {place.plain} bytes, at most {limit} can be")
                return self.thing_at(place, kind, name)
            except NotFound:
                self.miss(place.pack)
            except Damaged as error:
                self.spoil(place, error)

    def thing_at(self, place: Place, kind: Kind, name: bytes) -> bytes:
        """Return the bytes of a thing as they are stored at that place.  Raises as `open`."""
        sealed, plain = bytearray(place.length), bytearray(place.plain)
        self.packs.read(place.pack, place.offset, memoryview(sealed))
        self.open(place, kind, name, memoryview(sealed), bytearray(place.length), memoryview(plain))
        return bytes(plain)

    def open(
        self, place: Place, kind: Kind, name: bytes, sealed: memoryview, body: bytearray, out: memoryview
    ) -> None:
        """Unseal and decompress a thing into *out* and check it; *body* is scratch of at least `place.length` bytes.

        Raises:
            NotFound: the pack is gone.
            Damaged: what is stored there is not the thing of that name and size.
        """
        if place.plain != len(out):
            raise Damaged(f"{self.what(place, kind, name)} holds {place.plain} bytes, expected {len(out)}")
        if place.form is Form.RAW:
            self.packs.open_into(place, kind, name, sealed, out)
        else:
            frame = memoryview(body)[: place.length - TAG_SIZE]
            self.packs.open_into(place, kind, name, sealed, frame)
            out[:] = expand(frame, place.plain, self.what(place, kind, name))
        if self.names.name(kind, out) != name:
            raise Damaged(f"{self.what(place, kind, name)} holds other bytes than its name says")

    def authenticate(self, place: Place, kind: Kind, name: bytes, sealed: memoryview, body: bytearray) -> None:
        """Make sure that a thing is what was sealed under its name, without decompressing it.  Raises as `open`."""
        self.packs.open_into(place, kind, name, sealed, memoryview(body)[: place.length - TAG_SIZE])

    def place(self, kind: Kind, name: bytes) -> Place:
        """Return where a thing is stored.

        If the index does not know a pack that is there, it is read anew, then made anew from the packs: a hint may
        be old, lost, or speak of a pack that a collection has removed after copying what is needed.

        Raises:
            Damaged: it is nowhere, or damaged wherever it is.
        """
        for look_harder in (None, self._refresh, self._recover):
            if look_harder is not None:
                look_harder(name)
            for place in self._index.find(name):
                if place.pack not in self._gone and place[:2] not in self._bad:
                    return place
        raise self._lost(kind, name)

    def places(self, names: Iterable[bytes]) -> dict[bytes, Place]:
        """Return where these things are stored, as far as the index knows it now; `place` looks harder for the rest."""
        found: dict[bytes, Place] = {}
        for name, place in self._index.find_many(names):
            if place.pack not in self._gone and place[:2] not in self._bad:
                found.setdefault(name, place)
        return found

    def miss(self, pack: bytes) -> None:
        """Remember that the store does not have this pack."""
        self._gone.add(pack)

    def spoil(self, place: Place, error: Damaged) -> None:
        """Remember that a place does not hold what it should: other places are looked at from now on."""
        self._bad[place[:2]] = error

    def what(self, place: Place, kind: Kind, name: bytes) -> str:
        """Return how messages name a stored thing."""
        return f"{self.packs.shelf.object_name(place.pack)}: {kind.name.lower()} {name.hex()}"

    def _refresh(self, name: bytes) -> None:
        # Whoever stores a damaged thing anew puts an index object: looking once is enough for all that is damaged.
        damaged = any(place[:2] in self._bad for place in self._index.find(name))
        if not damaged or not self._looked_again:
            self._index.refresh()
        self._looked_again = self._looked_again or damaged

    def _recover(self, _name: bytes) -> None:
        with self._recovering:
            if not self._recovered:
                self._index.rebuild(self.packs)
                self._recovered = True

    def _lost(self, kind: Kind, name: bytes) -> Damaged:
        """Return why a thing is nowhere: what is damaged says more than what is missing."""
        self._known_lost.add([name])
        places = self._index.find(name)
        bad = [self._bad[place[:2]] for place in places if place[:2] in self._bad]
        if bad:
            return Damaged(bad[0].message, detail=bad[0].detail)
        gone = [self.packs.shelf.object_name(place.pack) for place in places]
        why = f"{', '.join(gone)} is missing" if gone else "no pack holds it"
        return Damaged(f"{kind.name.lower()} {name.hex()} is lost: {why}")


def span_of(chunk_size: int, span: int = SPAN) -> int:
    """Return the most bytes that are fetched at once."""
    return max(span, chunk_size + TAG_SIZE)


Thing = TypeVar("Thing")


def neighbours(found: Sequence[tuple[Place, Thing]], span: int) -> Iterator[list[tuple[Place, Thing]]]:
    """Yield runs of neighbours in one pack, of at most *span* stored bytes; *found* is sorted by place."""
    group: list[tuple[Place, Thing]] = []
    start = end = 0
    for pair in found:
        place = pair[0]
        after = place.offset + place.length
        near = group and place.pack == group[0][0].pack and place.offset <= end + GAP
        if not near or after - start > span:
            if group:
                yield group
            group, start, end = [], place.offset, after
        group.append(pair)
        end = max(end, after)
    if group:
        yield group


class Fetcher:
    """Fetches chunks for one thread, each stored range once, neighbours together.

    *sealed*: memory for what is stored, as much of it as shall be fetched at once: `span_of(chunk_size)` bytes.
    """

    def __init__(self, reader: Reader, chunk_size: int, sealed: Aligned | None = None) -> None:
        self._reader = reader
        self._limit = chunk_size
        self._sealed = sealed or Aligned(span_of(chunk_size, reader.span))
        self._span = self._sealed.size
        self._body = bytearray(chunk_size + TAG_SIZE)

    def fetch(self, wanted: Sequence[Wanted], *, unpack: bool = True) -> None:
        """Fill every view with the verified bytes of its chunk.

        Without *unpack* the views stay as they are, and every chunk was read and authenticated: this is no more than
        a third of the work, and finds whatever is lost or damaged.

        Raises:
            Damaged: some chunks are lost or are not what was named; *ranges* says where on the disk they belong.
        """
        bad: list[tuple[Damaged, Wanted]] = []
        while wanted:
            known = self._reader.places(chunk.name for chunk in wanted)
            found = [(place, chunk) for chunk in wanted if (place := self._place(chunk, known, bad)) is not None]
            found.sort(key=lambda pair: pair[0][:2])
            wanted = [chunk for group in neighbours(found, self._span) for chunk in self._fetch(group, unpack)]
        if bad:
            ranges = joined((chunk.offset, len(chunk.view)) for _, chunk in bad)
            raise Damaged(bad[0][0].message, ranges=ranges, detail=bad[0][0].detail) from bad[0][0]

    def _place(
        self, chunk: Wanted, known: Mapping[bytes, Place], bad: list[tuple[Damaged, Wanted]]
    ) -> Place | None:
        place = known.get(chunk.name)
        while True:
            try:
                place = place or self._reader.place(Kind.CHUNK, chunk.name)
            except Damaged as error:
                bad.append((error, chunk))
                return None
            if place.sensible(self._limit) and place.plain == len(chunk.view):
                return place
            what = self._reader.what(place, Kind.CHUNK, chunk.name)
            self._reader.spoil(place, Damaged(f"{what} would hold {place.plain} bytes, expected {len(chunk.view)}"))
            place = None

    def _fetch(self, group: Sequence[tuple[Place, Wanted]], unpack: bool) -> list[Wanted]:
        """Fetch one run; return what must be looked up again because it is not there, or not what it should be."""
        start = group[0][0].offset
        end = max(place.offset + place.length for place, _ in group)
        pack = group[0][0].pack
        sealed = self._sealed.view[: end - start]
        again: list[Wanted] = []
        try:
            self._reader.packs.read(pack, start, sealed)
            for place, chunk in group:
                at = place.offset - start
                if not self._open(place, chunk, sealed[at : at + place.length], unpack):
                    again.append(chunk)
        except NotFound:
            self._reader.miss(pack)
            return [chunk for _, chunk in group]
        except Damaged:
            # It is shorter than the run: what is whole in it still serves.
            return self._fetch_apart(group, unpack)
        return again

    def _fetch_apart(self, group: Sequence[tuple[Place, Wanted]], unpack: bool) -> list[Wanted]:
        """As `_fetch`, each by itself."""
        if len(group) > 1:
            return [chunk for pair in group for chunk in self._fetch([pair], unpack)]
        ((place, chunk),) = group
        try:
            self._reader.packs.read(place.pack, place.offset, self._sealed.view[: place.length])
        except NotFound:
            self._reader.miss(place.pack)
        except Damaged as error:
            self._reader.spoil(place, error)
        return [chunk]

    def _open(self, place: Place, chunk: Wanted, sealed: memoryview, unpack: bool) -> bool:
        try:
            if unpack:
                self._reader.open(place, Kind.CHUNK, chunk.name, sealed, self._body, chunk.view)
            else:
                self._reader.authenticate(place, Kind.CHUNK, chunk.name, sealed, self._body)
        except Damaged as error:
            self._reader.spoil(place, error)
            return False
        return True
