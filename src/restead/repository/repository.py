"""The opened repository: the door that workflows come in by."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from restead.domain.collected import Collected
from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.domain.ids import ManifestId, ProjectId
from restead.domain.verification import Depth
from restead.ports import BlobStore
from restead.repository.buffers import keep_freed_memory
from restead.repository.chunk import Names
from restead.repository.collect import Collector
from restead.repository.erase import Erasing
from restead.repository.index import Index
from restead.repository.inspection import Inspected, Inspection
from restead.repository.journal import Journal
from restead.repository.keyring import Keyring, Secret
from restead.repository.keyring_guard import Seen
from restead.repository.log import End, Log, ManifestEntry, Open, SessionState, State, deletes
from restead.repository.lost import LostThings
from restead.repository.manifest import Manifest
from restead.repository.pack import Shelf
from restead.repository.reads import Reads
from restead.repository.room import Room, Window
from restead.repository.scrub import Spend, spend_freely, tell_nobody
from restead.repository.service_copy import ServiceCopies
from restead.repository.session import Session

CHUNK_SIZE = 256 * 1024  # bytes; measured: smaller ones cost speed, larger ones store much more of small changes
SMALLEST_CHUNK = 512
LARGEST_CHUNK = 4 << 20


class Repository:
    """An opened repository.  Any number of these, in any number of processes and hosts, may work at once."""

    def __init__(
        self, store: BlobStore, keyring: Keyring, *, cache: Path, scratch: Path | None, window: Window | None
    ) -> None:
        self.keyring = keyring
        self.chunk_size = keyring.chunk_size
        self._store = store
        self._cache = cache
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._window = window or Window()
        cache.mkdir(0o700, parents=True, exist_ok=True)
        self.log = Log(
            store, keyring.live_control, keyring.repository_id, cache / f"{keyring.repository_id.hex()}.digest",
            ahead=self._window.ahead,
        )  # fmt: skip
        self._seen = Seen(cache / f"{keyring.repository_id.hex()}.keyring", keyring)
        self._seen.require()
        self._seen.keep()
        self.service_copies = ServiceCopies(store, keyring.control, keyring.repository_id)

    @staticmethod
    def create(
        store: BlobStore, secret: Secret, *, chunk_size: int = CHUNK_SIZE, label: str = "", at: datetime | None = None
    ) -> Keyring:
        """Make a new repository in an empty store, which *secret* opens; return its keyring.

        *label* and *at* are told with that key: what people call it, and what time it is.

        Raises:
            InvalidRequest: the store holds one already, or the chunk size is no power of two from 512 to 4 MiB.
        """
        if not SMALLEST_CHUNK <= chunk_size <= LARGEST_CHUNK or chunk_size & (chunk_size - 1):
            raise InvalidRequest(
                f"a chunk of {chunk_size} bytes is no power of two from {SMALLEST_CHUNK} to {LARGEST_CHUNK}"
            )
        return Keyring.create(store, secret, chunk_size=chunk_size, label=label, at=at)

    @classmethod
    def open(
        cls, store: BlobStore, secret: Secret, *, cache: Path, scratch: Path | None = None, window: Window | None = None
    ) -> "Repository":
        """Open the repository in *store*.

        *cache*: a folder that may be lost at any time.  *scratch*: where packs are built; on the file system of a local
        store a finished pack is not copied.

        Raises:
            NotFound: there is none.
            InvalidRequest: *secret* does not open it.
            Damaged: its keyring or log is.
        """
        keep_freed_memory()
        return cls(store, Keyring.open(store, secret), cache=cache, scratch=scratch, window=window)

    @contextmanager
    def session(self, project: ProjectId, *, label: str, reads: Sequence[ManifestId] = ()) -> Iterator[Session]:
        """Open a session; end it when the block is left, however it is left.

        *label* is the caller's own mark, to find the session again after a crash.  Only what is in *reads* may be
        restored from, verified, or used as a parent: it is kept for as long as the session is open.

        Raises:
            NotFound: a manifest is not there, or another project's; the project is being erased.
        """
        self.keyring.refresh()  # others may have rotated keys, or erased the project
        self.keyring.project(project)  # first: a new project's keys are durable before anything refers to it
        self._seen.keep()
        room = self._room(project)
        number = self.log.append(Open(label, project, list(reads)), valid=lambda state: _require(state, project, reads))
        session: Session | None = None
        try:
            # The view is taken, and the index read, after the `open` is durable: what is condemned later waits for us.
            view = self.log.refresh()
            # Whoever erases takes the keys away first, then ends the sessions he finds: one of the two meets us.
            self.keyring.refresh()
            room.check_keys()
            room.index.refresh()
            entries = [_visible(view, project, [id])[0] for id in reads]
            manifests = {entry.id: room.manifest(entry) for entry in entries}
            session = Session(
                number, project, manifests, room, self.log, view, self._window, self._scratch, self.chunk_size
            )
            yield session
        except BaseException as error:
            self._require_alive(number, error)
            if session is None or not session.left_open:
                self._end_quietly(number)
            raise
        finally:
            room.lost.keep()
        if not session.left_open:
            self.end(number)

    def sessions(self, label: str) -> list[SessionState]:
        """Return what the log knows of sessions with this label: open ones, and those that left manifests."""
        return self.log.refresh().labelled(label)

    def partial(self, label: str) -> list[ManifestId]:
        """Return what sessions with this label have noted of unfinished disks: to be read by the next, or deleted."""
        return [entry.id for entry in self.log.refresh().partial.values() if entry.session_label == label]

    def rejoin(self, number: int) -> Reads:
        """Return what a session that has committed with pins may read: its pins, and its own manifests.

        For its owner after a crash.  Nothing is written: the session is over when its owner ends it with `unpin`.

        Raises:
            NotFound: it was unpinned, or never committed with pins.
        """
        view = self.log.refresh()
        session = view.sessions.get(number)
        if session is None or session.open or not session.pins:
            raise NotFound(f"session {number} holds nothing that a restore could go on with")
        room = self._room(session.project)
        room.index.refresh()
        entries = _visible(view, session.project, session.needs)
        manifests = {entry.id: room.manifest(entry) for entry in entries}
        return Reads(number, session.project, manifests, room, self._window)

    def end(self, number: int, *, unpin: bool = False) -> None:
        """Make sure that a session is over.  If it still runs, its commit will be void.

        *unpin*: what it pinned is needed by it no longer.  Only for its owner, whose restore has ended.
        """
        try:
            self.log.append(End(number, unpin))
        except NotFound:
            pass  # over already

    def manifest(self, id: ManifestId) -> Manifest:
        """Return a manifest with its root object.  Raises NotFound, Damaged."""
        entry = self._entry(id)
        room = self._room(entry.project)
        room.index.refresh()
        try:
            return room.manifest(entry)
        except Damaged:
            self._entry(id)  # deleted and collected meanwhile: not there, rather than damaged
            raise

    def manifests(self, project: ProjectId) -> list[ManifestEntry]:
        """Return the manifests of a project, oldest first, as the log names them."""
        return [entry for entry in self.log.refresh().manifests.values() if entry.project == project]

    def described(self, entries: Iterable[ManifestEntry]) -> Iterator[tuple[ManifestEntry, Manifest | Damaged]]:
        """Yield each with its root object, or with why that cannot be read: a damaged one hides no other."""
        rooms: dict[ProjectId, Room] = {}
        for entry in entries:
            if entry.project not in rooms:
                try:
                    rooms[entry.project] = self._room(entry.project)
                except Damaged as error:
                    yield entry, error
                    continue
                rooms[entry.project].index.refresh()
            yield entry, _manifest_or_why(rooms[entry.project], entry)

    def inspect(
        self,
        depth: Depth,
        *,
        restart: bool = False,
        spend: Spend = spend_freely,
        told: Callable[[int, int], None] = tell_nobody,
        started: str = "",
    ) -> Inspected:
        """Look at all that is stored, and say what is wrong and which disks need it.  Nothing is changed.

        What a look of that depth had seen before it was interrupted is not looked at again, unless *restart*.
        *spend* is called before bytes are read; it may wait, or end the work by raising.  *told*: bytes of packs that
        are done, and of all.  *started*: the caller's mark of a new look.

        Raises:
            Damaged: the log cannot be read at all: nobody knows what there should be.
        """
        journal = Journal(self._cache / self.keyring.repository_id.hex() / f"verify-{depth}.json", restart=restart)
        journal.started = journal.started or started
        look = Inspection(
            self._store, self.keyring, self.log, self._room, depth, journal=journal, spend=spend, told=told,
            window=self._window,
        )  # fmt: skip
        return look.run()

    def delete(self, ids: Sequence[ManifestId]) -> None:
        """Let these manifests not exist any more.  What only they needed goes with a later collection.

        Deleting what is not there succeeds.  Raises InvalidRequest while one of them is held.
        """
        for event in deletes(ids):
            try:
                self.log.append(event)
            except NotFound:
                pass  # all of them are gone already

    def collect(
        self, *, dry: bool = False, garbage: float = 0.5, small: int = 64, check: Callable[[], None] = lambda: None
    ) -> Collected:
        """Remove what no manifest needs, as far as nobody has to be waited for; *dry*: only say what would go.

        *garbage*: the share of a pack that nothing needs from which on the rest is copied out of it.  *small*: so many
        small packs of a project, of a quarter of a full one at most, are put together; 0: never.  *check* is called
        often and ends it by raising; whoever collects next goes on.

        Raises:
            Damaged: something that is needed is lost; nothing was removed.
            Unavailable: the store did not answer, or cannot delete.
        """
        return Collector(
            self._store, self.log, self._rooms, scratch=self._scratch, threads=self._window.restore_threads,
            notes=self._cache / f"{self.keyring.repository_id.hex()}.unneeded", garbage=garbage, small=small,
            check=check,
        ).run(dry=dry)  # fmt: skip

    def _rooms(self) -> dict[ProjectId, Room]:
        self.keyring.refresh()
        return {id: self._room(id) for id in self.keyring.projects}

    def _entry(self, id: ManifestId) -> ManifestEntry:
        entry = self.log.refresh().manifests.get(id)
        if entry is None:
            raise NotFound(f"there is no manifest {id}", code=Code.BACKUP_NOT_FOUND)
        return entry

    @property
    def erasing(self) -> Erasing:
        """What it takes to erase a project."""
        return Erasing(self._store, self.keyring, self.log, self._cache)

    def _room(self, project: ProjectId) -> Room:
        if project not in self.keyring.projects:
            self.keyring.refresh()
        keys = self.keyring.projects.get(project)
        if keys is None:
            raise Damaged(f"the keyring holds no keys of project {project}, of which the log tells")
        names = Names(keys.name_key)
        shelf = Shelf(self._store, self.keyring.live(keys), self.keyring.repository_id, names.tag)
        index = Index(shelf, self._cache, ahead=self._window.ahead)
        return Room(shelf, names, index, LostThings(index.folder), self._window)

    def _require_alive(self, number: int, error: BaseException) -> None:
        """Raise Unavailable if a session met damage because somebody had ended it: what it read may be collected."""
        if isinstance(error, Damaged) and number not in self.log.refresh().sessions:
            raise Unavailable(f"session {number} was ended by somebody else", detail=error.message) from error

    def _end_quietly(self, number: int) -> None:
        """End a session that failed.  If that fails too, the first error is what the caller must see."""
        try:
            self.end(number)
        except ResteadError:
            pass  # somebody who believes the session dead will end it


def _manifest_or_why(room: Room, entry: ManifestEntry) -> Manifest | Damaged:
    try:
        return room.manifest(entry)
    except Damaged as error:
        return error


def _require(state: State, project: ProjectId, reads: Sequence[ManifestId]) -> None:
    _visible(state, project, reads)


def _visible(state: State, project: ProjectId, reads: Sequence[ManifestId]) -> list[ManifestEntry]:
    """Return these manifests.  Raises NotFound if one is not there or another project's: no difference is shown."""
    found = [state.manifests.get(id) or state.partial.get(id) or state.retained.get(id) for id in reads]
    for id, entry in zip(reads, found, strict=True):
        if entry is None or entry.project != project:
            raise NotFound(f"there is no manifest {id}", code=Code.BACKUP_NOT_FOUND)
    return [entry for entry in found if entry is not None]
