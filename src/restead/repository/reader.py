"""Reading things back: found through the index, fetched in large ranges, authenticated, checked against their names.

Nothing leaves this file that is not exactly what was named.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from restead.domain.errors import Damaged, NotFound
from restead.repository.buffers import Aligned
from restead.repository.chunk import Form, Names, expand
from restead.repository.index import Index
from restead.repository.pack import PackReader, Place
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
        self, packs: PackReader, index: Index, names: Names, *, portion: int = PORTION, span: int = SPAN
    ) -> None:
        self.packs = packs
        self.portion = portion  # bytes of a disk that one thread works on at once
        self.span = span
        self.names = names
        self._index = index
        self._gone: set[bytes] = set()  # packs that the store did not have when they were asked for
        self._recovering = Lock()
        self._recovered = False

    def thing(self, kind: Kind, name: bytes, limit: int) -> bytes:
        """Return the bytes of a page or a root, at most *limit* of them.

        Raises:
            Damaged: it is in no pack, or not what was named.
        """
        while True:
            place = self.place(kind, name)
            if not place.sensible(limit):
                raise Damaged(f"{self.what(place, kind, name)} would hold {place.plain} bytes, at most {limit} can be")
            try:
                return self.thing_at(place, kind, name)
            except NotFound:
                self.miss(place.pack)

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
            Damaged: it is nowhere.
        """
        for look_harder in (None, self._index.refresh, self._recover):
            if look_harder is not None:
                look_harder()
            for place in self._index.find(name):
                if place.pack not in self._gone:
                    return place
        gone = [self.packs.shelf.object_name(place.pack) for place in self._index.find(name)]
        why = f"{', '.join(gone)} is missing" if gone else "no pack holds it"
        raise Damaged(f"{kind.name.lower()} {name.hex()} is lost: {why}")

    def places(self, names: Iterable[bytes]) -> dict[bytes, Place]:
        """Return where these things are stored, as far as the index knows it now; `place` looks harder for the rest."""
        found: dict[bytes, Place] = {}
        for name, place in self._index.find_many(names):
            if place.pack not in self._gone:
                found.setdefault(name, place)
        return found

    def miss(self, pack: bytes) -> None:
        """Remember that the store does not have this pack."""
        self._gone.add(pack)

    def what(self, place: Place, kind: Kind, name: bytes) -> str:
        """Return how messages name a stored thing."""
        return f"{self.packs.shelf.object_name(place.pack)}: {kind.name.lower()} {name.hex()}"

    def _recover(self) -> None:
        with self._recovering:
            if not self._recovered:
                self._index.rebuild(self.packs)
                self._recovered = True


def span_of(chunk_size: int, span: int = SPAN) -> int:
    """Return the most bytes that are fetched at once."""
    return max(span, chunk_size + TAG_SIZE)


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
            wanted = [chunk for group in self._groups(found) for chunk in self._fetch(group, bad, unpack)]
        if bad:
            ranges = sorted((chunk.offset, len(chunk.view)) for _, chunk in bad)
            raise Damaged(bad[0][0].message, ranges=ranges, detail=bad[0][0].detail) from bad[0][0]

    def _place(
        self, chunk: Wanted, known: Mapping[bytes, Place], bad: list[tuple[Damaged, Wanted]]
    ) -> Place | None:
        try:
            place = known.get(chunk.name) or self._reader.place(Kind.CHUNK, chunk.name)
            if not place.sensible(self._limit) or place.plain != len(chunk.view):
                what = self._reader.what(place, Kind.CHUNK, chunk.name)
                raise Damaged(f"{what} would hold {place.plain} bytes, expected {len(chunk.view)}")
        except Damaged as error:
            bad.append((error, chunk))
            return None
        return place

    def _groups(self, found: Sequence[tuple[Place, Wanted]]) -> Iterator[list[tuple[Place, Wanted]]]:
        """Yield runs of neighbours in one pack."""
        group: list[tuple[Place, Wanted]] = []
        start = end = 0
        for pair in found:
            place = pair[0]
            after = place.offset + place.length
            near = group and place.pack == group[0][0].pack and place.offset <= end + GAP
            if not near or after - start > self._span:
                if group:
                    yield group
                group, start, end = [], place.offset, after
            group.append(pair)
            end = max(end, after)
        if group:
            yield group

    def _fetch(
        self, group: Sequence[tuple[Place, Wanted]], bad: list[tuple[Damaged, Wanted]], unpack: bool
    ) -> list[Wanted]:
        """Fetch one run; return what must be looked up again because the pack is gone."""
        start = group[0][0].offset
        end = max(place.offset + place.length for place, _ in group)
        pack = group[0][0].pack
        sealed = self._sealed.view[: end - start]
        try:
            self._reader.packs.read(pack, start, sealed)
            for place, chunk in group:
                at = place.offset - start
                self._open(place, chunk, sealed[at : at + place.length], bad, unpack)
        except NotFound:
            self._reader.miss(pack)
            return [chunk for _, chunk in group]
        except Damaged as error:  # the pack is too short, or its header is not one
            bad += [(error, chunk) for _, chunk in group]
        return []

    def _open(
        self, place: Place, chunk: Wanted, sealed: memoryview, bad: list[tuple[Damaged, Wanted]], unpack: bool
    ) -> None:
        try:
            if not unpack:
                self._reader.authenticate(place, Kind.CHUNK, chunk.name, sealed, self._body)
                return
            self._reader.open(place, Kind.CHUNK, chunk.name, sealed, self._body, chunk.view)
        except Damaged as error:
            bad.append((error, chunk))
