"""Which names need not be stored, as one session sees it.

A name is new until somebody claims it; whoever claims it must store it.  Names stay claimed in memory until their
pack and its index entries are durable, from then on the index knows them: so memory is bounded by what is under way.
"""

from collections.abc import Sequence, Set
from threading import Lock

from restead.repository.index import RUN_ENTRIES, Index
from restead.repository.lost import LostThings
from restead.repository.pack import Place
from restead.repository.runs import Hint


class Known:
    """The names that one session needs not store; any number of threads.

    *condemned*: packs that were condemned before the session's `open`, ever.  What only they hold is absent.
    *lost*: what was found to be lost is absent, too, until it is stored again.
    """

    def __init__(self, index: Index, condemned: Set[bytes], lost: LostThings) -> None:
        self._index = index
        self._condemned = condemned
        self.lost = lost
        self._claimed: dict[bytes, object] = {}
        self._waiting: list[Hint] = []  # durable, not yet in the index
        self._lock = Lock()

    def claim(self, name: bytes) -> bool:
        """Tell whether the caller, and nobody else, must now store what has this name."""
        mine = object()
        # setdefault is atomic: of two threads with one new name exactly one gets its own object back.
        if self._claimed.setdefault(name, mine) is not mine:
            return False
        if self.has(name):
            del self._claimed[name]
            return False
        return True

    def has(self, name: bytes) -> bool:
        """Tell whether the index knows a place for that name that may be built on."""
        return name not in self.lost and any(
            place.pack not in self._condemned for place in self._index.find(name)
        )

    def shelve(self, stored: Sequence[tuple[bytes, Place]]) -> None:
        """Say that these are durable now.  Many of them are put into the index together."""
        with self._lock:
            self._waiting += [Hint(name, place) for name, place in stored]
            if len(self._waiting) < RUN_ENTRIES:
                return
        self.flush()

    def flush(self) -> None:
        """Put all that was shelved into the index."""
        with self._lock:
            hints, self._waiting = self._waiting, []
        self._index.add(hints)
        # Only now: a name that is in neither place would be stored twice; one that is in both costs nothing.
        self.lost.remove(hint.name for hint in hints)
        for hint in hints:
            self._claimed.pop(hint.name, None)
