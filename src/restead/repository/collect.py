"""Collection: what no manifest needs any more is removed, without a lock or a clock.

    mark → `condemn k, packs` → wait until every session that was open at that entry has committed or ended →
    mark again → copy what is needed and has no holder outside condemned packs → index entries go → packs go →
    `removed k`

No session that opens after `condemn` builds on these packs, so what the second mark finds is all that will ever be
needed of them.  Nothing is waited for here: a condemnation whose time has not come is left to a later round, whoever
makes it.  Packs that are mostly garbage go the same way, and what lives in them is copied; so do small ones, which each
session leaves, once there are enough of them.

A crash anywhere leaves packs that nobody needs, index entries that are there twice, or a condemnation to be finished.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from restead.domain.collected import Collected
from restead.domain.errors import Damaged, NotFound, Unavailable
from restead.domain.ids import ProjectId
from restead.domain.wording import count_of
from restead.ports import BlobStore, LocksObjects
from restead.repository.cached import write_whole
from restead.repository.index import pack_of
from restead.repository.log import Condemnation, Log, Removed, State, condemns
from restead.repository.mark import Holdings, Spread, Weighing, spread_needed
from restead.repository.pack import PACK_SIZE, PACK_THINGS
from restead.repository.rescue import Rescue
from restead.repository.room import Room

_AT_ONCE = 8  # condemnations, of up to 1,000 packs each, for which what is needed is marked together
MERGED_AT_ONCE = 4 << 30  # bytes of small packs of one project that one round puts together
_TRIES = 5  # of what others, who delete and collect at the same time, may take away in the middle


class Collector:
    """One who collects.  Any number of them may, at the same time."""

    def __init__(
        self,
        store: BlobStore,
        log: Log,
        rooms: Callable[[], Mapping[ProjectId, Room]],
        *,
        scratch: Path,
        notes: Path,
        threads: int,
        garbage: float,
        small: int,
        check: Callable[[], None],
    ) -> None:
        """*rooms*: of all projects that the keyring knows, read anew.  *notes*: a file that may be lost at any time.

        *garbage*: the share of a pack that has to be needed by nothing for the rest to be copied out of it.
        *small*: so many small packs of one project, at least two, are put together; 0: never.
        """
        self._store = store
        self._log = log
        self._rooms = rooms
        self._scratch = scratch
        self._notes = _Notes(notes)
        self._threads = threads
        self._garbage = garbage
        self._small = small
        self._check = check
        self._done = Collected()
        self._locked: set[bytes] = set()  # packs that the store has refused to delete in this round
        self._stuck: dict[bytes, Damaged] = {}  # packs that have to stay, since something needed in them does not open
        self._dry = False

    def run(self, *, dry: bool) -> Collected:
        """Finish what can be finished, condemn what nothing needs, finish that if nobody has to be waited for.

        *dry*: change nothing and say what would be condemned.

        Raises:
            Damaged: something that is needed is nowhere to be found, and nothing was removed; or it does not open in a
                pack that was to go, which stays, and all else was done.
            Unavailable: manifests came and went too fast, or the store does not answer: try again.
        """
        self._dry = dry
        if not dry:
            self._finish_all()
        self._condemn(dry=dry)
        if not dry:
            self._finish_all()
        if self._stuck:
            first = next(iter(self._stuck.values()))
            raise Damaged(
                f"something that is needed does not open in {len(self._stuck)} of the packs that were to go: they "
                f"stay, and all else was done.  The first: {first.message}",
                detail=first.detail,
            )
        return self._done

    # ------------------------------------------------------------------ what goes

    def _condemn(self, *, dry: bool) -> None:
        packs = _Packs(self._store)
        rooms = self._rooms()  # after the packs were listed: the keys of a pack are older than the pack
        view, holdings = self._marked(rooms, packs)
        busy = {pack for one in view.condemnations.values() for pack in one.packs}
        by_tag = {room.shelf.tag: holdings[project] for project, room in rooms.items()}
        chosen: list[Waste] = []
        unneeded: list[Waste] = []
        small: dict[str, list[Waste]] = {}
        for tag, pack, size in packs:
            if tag not in by_tag:
                self._done.unknown += 1
            elif pack not in busy:
                found = by_tag[tag]
                live, total = found.live.get(pack, 0), found.total.get(pack, 0)
                waste = Waste(pack, size - live, live)
                if not live:
                    unneeded.append(waste)
                elif total > live and total - live >= self._garbage * total:
                    chosen.append(waste)
                elif is_small(size, found.things[pack]):
                    small.setdefault(tag, []).append(waste)
        merged = [waste for each in small.values() for waste in worth_merging(each, self._small)]
        self._done.merged = len(merged)
        chosen += merged
        settled = self._notes.settled(view, [waste.pack for waste in unneeded], note=not dry)
        chosen += [waste for waste in unneeded if waste.pack in settled]
        self._done.kept = sum(sum(found.live.values()) for found in holdings.values())
        self._count(chosen, later=len(unneeded) - len(settled))
        if not dry:
            self._drop_stale(rooms, holdings, view.condemned - busy)
            for event in condemns([waste.pack for waste in chosen]):
                self._check()
                self._log.append(event)

    def _drop_stale(
        self, rooms: Mapping[ProjectId, Room], holdings: Mapping[ProjectId, Holdings], removed: Set[bytes]
    ) -> None:
        """Take out of the index what a session that was slow, or dead, has said of packs that are gone for ever."""
        for project, found in holdings.items():
            if stale := removed & found.total.keys():
                rooms[project].index.drop(stale, self._check)

    def _count(self, chosen: Sequence["Waste"], *, later: int) -> None:
        self._done.condemned += len(chosen)
        self._done.garbage += sum(waste.garbage for waste in chosen)
        self._done.rewritten += sum(waste.live > 0 for waste in chosen)
        self._done.later = later

    def _marked(
        self, rooms: Mapping[ProjectId, Room], packs: "_Packs", working_on: Set[bytes] = frozenset()
    ) -> tuple[State, dict[ProjectId, Holdings]]:
        """Return a state of the log, and for each project who holds what is needed in it."""
        for _ in range(_TRIES):
            view = self._log.refresh()
            try:
                return view, {id: self._held(id, room, view, packs, working_on) for id, room in rooms.items()}
            except Damaged:
                # A manifest of that view may be gone since, and collected by somebody else: then it is no damage.
                if set(view.needed) <= set(self._log.refresh().needed):
                    raise
        raise Unavailable(f"manifests were deleted and collected by others {_TRIES} times while they were marked")

    def _held(
        self, project: ProjectId, room: Room, view: State, packs: "_Packs", working_on: Set[bytes]
    ) -> Holdings:
        room.index.refresh()  # after the view: what is committed in it is in the index
        roots = [entry.root for entry in view.needed.values() if entry.project == project]
        with closing(Spread(self._scratch)) as spread:
            spread_needed(room, roots, spread, self._threads, self._check)
            for anew in (False,) if self._dry else (False, True):
                if anew:
                    room.index.rebuild(room.reader.packs)
                weighing = Weighing(view.condemned, packs.present(room), working_on)
                found = weighing.run(spread, room.index.records(), self._check)
                if not found.missing:
                    return found
        raise Damaged(
            f"{count_of(len(found.missing), 'thing')} that manifests need not found in any pack, the first "
            f"{found.missing[0].hex()}: nothing is removed"
        )

    # ------------------------------------------------------------------ how it goes

    def _finish_all(self) -> None:
        view = self._log.refresh()
        ready = [one for number, one in sorted(view.condemnations.items())
                 if view.may_remove(number) and self._stuck.keys().isdisjoint(one.packs)]  # fmt: skip
        waiting = {session for one in view.condemnations.values() for session in one.waits if view.is_open(session)}
        self._done.waiting = tuple(sorted(waiting))
        for at in range(0, len(ready), _AT_ONCE):
            self._check()
            self._finish_in_company(ready[at : at + _AT_ONCE])

    def _finish_in_company(self, group: Sequence[Condemnation]) -> None:
        """Finish these; another collector may be at the same, copy what we were about to and remove it under us."""
        for attempt in range(_TRIES):
            left, last = self._log.refresh().condemnations, attempt == _TRIES - 1
            try:
                self._finish([one for one in group if one.number in left], patient=last)
                return
            except (Damaged, NotFound) as error:
                if last:
                    raise Damaged(error.message, detail=error.detail) from error

    def _finish(self, ready: Sequence[Condemnation], *, patient: bool) -> None:
        """Remove the packs of condemnations that nobody has to be waited for.  *patient*: as `Rescue.run`."""
        gone = frozenset[bytes]().union(*(one.packs for one in ready))
        packs, rooms = _Packs(self._store), self._rooms()
        _, holdings = self._marked(rooms, packs, gone)
        for project, found in holdings.items():
            self._copy(rooms[project], packs, found, patient=patient)
        gone -= self._stuck.keys()
        for room in rooms.values():
            room.index.drop(gone, self._check)
        for name, pack, size in packs.objects():
            if pack in gone and pack not in self._locked:
                self._check()
                self._delete(name, pack, size)
        for one in ready:
            if one.packs & (self._locked | self._stuck.keys()):
                continue  # to be finished by a later round, when the store lets them go, or what is needed was healed
            try:
                self._log.append(Removed(one.number))
            except NotFound:
                pass  # another collector was faster

    def _delete(self, name: str, pack: bytes, size: int) -> None:
        try:
            self._store.delete(name)
        except Unavailable:
            until = self._store.locked_until(name) if isinstance(self._store, LocksObjects) else ""
            if not until:
                raise
            self._locked.add(pack)
            self._done.locked += 1
            self._done.locked_until = min(until, self._done.locked_until or until)
        else:
            self._done.removed += 1
            self._done.freed += size

    def _copy(self, room: Room, packs: "_Packs", found: Holdings, *, patient: bool) -> None:
        """Put what only condemned packs hold into fresh ones.  Raises as `Rescue.run`."""
        rescue = Rescue(room, partial(packs.size, room), self._scratch, self._check)
        self._stuck |= rescue.run(found, patient=patient)
        self._done.copied += rescue.stored


def is_small(size: int, things: int) -> bool:
    """Tell whether a pack was closed long before it was full, by bytes or by things."""
    return size < PACK_SIZE // 4 and things < PACK_THINGS // 4


def worth_merging(small: Sequence["Waste"], least: int, most: int = MERGED_AT_ONCE) -> list["Waste"]:
    """Return which small packs of one project to put together: none of fewer than *least*, or two; none if that is 0.

    The smallest first, at most *most* bytes of them.  What they become is full, but for one pack: so no round finds
    enough in what one before it has made.
    """
    chosen: list[Waste] = []
    if least and len(small) >= max(2, least):
        for waste in sorted(small, key=lambda each: (each.live, each.pack)):
            most -= waste.live
            if most < 0:
                break
            chosen.append(waste)
    return chosen


@dataclass(frozen=True, slots=True)
class Waste:
    """A pack that is to go."""

    pack: bytes
    garbage: int  # bytes
    live: int  # bytes of what is needed of it


class _Packs:
    """The packs that the store shows."""

    def __init__(self, store: BlobStore) -> None:
        self._sizes: dict[tuple[str, bytes], int] = {}
        self._store = store
        for name, size in store.list("packs/"):
            try:
                self._sizes[name.split("/")[1], pack_of(name)] = size
            except Damaged:
                pass  # nobody needs it, and it is not ours to remove: a verification tells of it

    def __iter__(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield (tag of the project, pack, bytes)."""
        yield from ((tag, pack, size) for (tag, pack), size in self._sizes.items())

    def objects(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield (name in the store, pack, bytes)."""
        yield from ((f"packs/{tag}/{pack.hex()}", pack, size) for tag, pack, size in self)

    def present(self, room: Room) -> Callable[[bytes], bool]:
        """Return what tells whether the store has a pack of that project, also one that is not listed yet."""

        def present(pack: bytes) -> bool:
            if (room.shelf.tag, pack) in self._sizes:
                return True
            try:
                self._store.get_range(room.shelf.object_name(pack), 0, 1)
            except NotFound:
                return False
            return True

        return present

    def size(self, room: Room, pack: bytes) -> int:
        """Return the bytes of a pack.  Raises Damaged: it is not there; Unavailable: the store does not list it yet."""
        found = self._sizes.get((room.shelf.tag, pack))
        if found is not None:
            return found
        if self.present(room)(pack):
            raise Unavailable(f"the store holds {room.shelf.object_name(pack)} and does not list it")
        raise Damaged(f"{room.shelf.object_name(pack)} holds what manifests need and is not there")


class _Notes:
    """Which packs nothing needed in an earlier round, and who was at work then: in a file that may be lost.

    A session that is still at work may have put a pack a moment ago and commit it a moment later.  To condemn it
    would do no harm, but all of it would have to be copied.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def settled(self, view: State, unneeded: list[bytes], *, note: bool) -> set[bytes]:
        """Return those of *unneeded* that no session which is open now can be about to commit; remember the others."""
        at_work = [number for number in view.sessions if view.is_open(number)]
        if not at_work:
            return set(unneeded)
        then = self._read()
        settled = set(unneeded) & then.packs if then.sessions.isdisjoint(at_work) else set()
        if note and then.sessions.isdisjoint(at_work):
            said = {"sessions": at_work, "packs": [pack.hex() for pack in unneeded]}
            write_whole(self._path, json.dumps(said).encode())
        return settled

    def _read(self) -> "_Note":
        try:
            found = json.loads(self._path.read_text())
            return _Note(frozenset(found["sessions"]), frozenset(bytes.fromhex(pack) for pack in found["packs"]))
        except (OSError, ValueError, KeyError, TypeError):
            return _Note(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class _Note:
    sessions: frozenset[int]
    packs: frozenset[bytes]
