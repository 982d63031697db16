"""What is needed of packs that are to go: copied into fresh ones, opened and checked on the way.

A pack stays, with all that is in it, if something that is needed stands only there and does not open: nothing can be
done for it here, and nobody else's garbage has to wait for it.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from restead.domain.errors import Damaged, NotFound
from restead.domain.wording import count_of
from restead.repository.chunk import Press
from restead.repository.mark import Holdings
from restead.repository.pack import PackWriter, Place
from restead.repository.room import Room
from restead.repository.runs import Hint
from restead.repository.seal import Kind


class Rescue:
    """Copies what is needed of one project."""

    def __init__(self, room: Room, size: Callable[[bytes], int], scratch: Path, check: Callable[[], None]) -> None:
        """*size*: returns the bytes of a pack.  Raises Damaged: it is not there; Unavailable."""
        self._room = room
        self._size = size
        self._scratch = scratch
        self._check = check
        self._hints: list[Hint] = []
        self.stored = 0  # bytes of fresh packs

    def run(self, found: Holdings, *, patient: bool) -> dict[bytes, Damaged]:
        """Copy what only packs that are worked on hold; return those that have to stay, and why.

        Raises:
            Damaged, NotFound: unless *patient*: one has to stay, or somebody else has removed it.  What was copied
                so far is in the index.
        """
        self._keep_healed(found)
        stuck: dict[bytes, Damaged] = {}
        writer = PackWriter(self._room.shelf, self._scratch, Press())
        with closing(writer):
            for pack, names in found.stranded.items():
                if not names:
                    continue  # another place of each of them is whole
                try:
                    self._copy_from(pack, names, writer)
                except (Damaged, NotFound) as error:
                    if not patient:
                        self._room.index.add(self._hints)  # else the next try would copy them once more
                        raise
                    stuck[pack] = Damaged(error.message, detail=error.detail)
            self._hints += [Hint(name, place) for name, place in writer.finish()]
        self.stored = writer.stored
        self._room.index.add(self._hints)
        return stuck

    def _keep_healed(self, found: Holdings) -> None:
        """Let another place count for what does not open where it counts: it is copied from there.

        Which of several counts is chance, and one of them may be there because another is damaged.
        """
        for name, (counts, *others) in found.doubled.items():
            self._check()
            if not self._opens(name, counts):
                sound = next((place for place in others if self._opens(name, place)), None)
                if sound is not None:
                    found.stranded.get(counts.pack, set()).discard(name)
                    found.stranded.setdefault(sound.pack, set()).add(name)

    def _opens(self, name: bytes, place: Place) -> bool:
        """Tell whether the thing of that name is at that place, whole.  Raises Unavailable."""
        for kind in (Kind.CHUNK, Kind.PAGE, Kind.ROOT):
            try:
                self._room.reader.thing_at(place, kind, name)
            except (Damaged, NotFound):
                continue
            return True
        return False

    def _copy_from(self, pack: bytes, names: set[bytes], writer: PackWriter) -> None:
        left, reader = set(names), self._room.reader
        for thing in reader.packs.contents(pack, self._size(pack)):
            if thing.name not in left:
                continue
            self._check()
            left.discard(thing.name)
            place = Place(pack, thing.offset, thing.length, thing.plain, thing.form)
            plain = reader.thing_at(place, thing.kind, thing.name)
            if writer.add(thing.kind, thing.name, plain):
                self._hints += [Hint(name, found) for name, found in writer.finish()]
        if left:
            what = self._room.shelf.object_name(pack)
            raise Damaged(f"{what} does not hold {count_of(len(left), 'thing')} that the index says it does")
