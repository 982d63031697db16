"""From damaged packs to disks: which bytes of which manifest need what is lost.

Every page of every manifest is read once.  A chunk that has a place in a pack of which nothing is known to be wrong
is believed to be there; one that has not is read, wherever it may stand.
"""

from collections.abc import Callable, Collection

from restead.domain.errors import Damaged
from restead.repository.buffers import BUFFERS
from restead.repository.chunk import NAME_SIZE, ZERO
from restead.repository.manifest import Root
from restead.repository.ranges import Range, joined
from restead.repository.reader import Fetcher, Wanted, span_of
from restead.repository.room import Room
from restead.repository.tree import FANOUT, Tree
from restead.repository.verify import told_at_once


class Mapping:
    """The disks of one project.  *sound*: packs that are there and of which nothing is known to be wrong.

    *proven*: their bytes were read, so that what was believed to be lost and stands in them is not.
    Memory: 32 bytes and some for each page of 1,024 chunks that is stored.
    """

    def __init__(
        self, room: Room, sound: Collection[bytes], *, proven: bool, check: Callable[[], None]
    ) -> None:
        self._room = room
        self._sound = sound
        self._proven = proven
        self._check = check
        self._whole: set[bytes] = set()  # pages below which nothing is lost
        self._bad: list[Range] = []
        self._first: Damaged | None = None

    def check(self, root_name: bytes) -> None:
        """Return if everything that the manifest with this root needs is there.

        Raises:
            Damaged: its root is lost; or, with *ranges* of the disk, something below it.
        """
        root = self._room.root(root_name)
        tree = self._room.tree(root)
        self._bad, self._first = [], None
        if tree.levels and root.top != ZERO:
            self._walk(tree, tree.levels - 1, 0, root.top)
        if self._first is not None:
            raise told_at_once(self._first, self._bad)

    def _walk(self, tree: Tree, level: int, index: int, name: bytes) -> bool:
        """Tell whether a page and all below it is whole."""
        if name == ZERO or name in self._whole:
            return True
        self._check()
        try:
            tree.look(level, index)
        except Damaged as error:
            self._note(error)
            return False
        if level == 0:
            whole = self._leaf(tree.root, index, tree.leaf(index))
        else:
            whole = True
            for child in range(index * FANOUT, (index + 1) * FANOUT):
                below = tree.name_at(level - 1, child)
                if below is None:
                    break
                whole = self._walk(tree, level - 1, child, below) and whole
        if whole:
            self._whole.add(name)
        return whole

    def _leaf(self, root: Root, page: int, names: bytes) -> bool:
        there = {names[at : at + NAME_SIZE] for at in range(0, len(names), NAME_SIZE)} - {ZERO}
        sound = {name for name, place in self._room.index.find_many(there) if place.pack in self._sound}
        doubtful: list[tuple[bytes, int]] = []
        for at in range(0, len(names), NAME_SIZE):
            name = names[at : at + NAME_SIZE]
            if name != ZERO and not self._believed(name, sound):
                doubtful.append((name, (page * FANOUT + at // NAME_SIZE) * root.chunk_size))
        return all([self._read(root, name, offset) for name, offset in doubtful])

    def _believed(self, name: bytes, sound: Collection[bytes]) -> bool:
        if name not in sound and not any(place.pack in self._sound for place in self._room.index.find(name)):
            return False
        if self._proven and self._room.lost:
            self._room.lost.remove([name])
        return True

    def _read(self, root: Root, name: bytes, offset: int) -> bool:
        length = min(root.chunk_size, root.size - offset)
        with BUFFERS.borrow(root.chunk_size, span_of(root.chunk_size)) as (chunk, sealed):
            try:
                Fetcher(self._room.reader, root.chunk_size, sealed).fetch([Wanted(name, offset, chunk.view[:length])])
            except Damaged as error:
                self._note(error)
                return False
        self._room.lost.remove([name])
        return True

    def _note(self, error: Damaged) -> None:
        self._first = self._first or error
        self._bad = joined([*self._bad, *error.ranges])
