"""A session: what may be built on, and read, from its `open` in the log to its `end`.

    with repository.session(project, label="…", reads=[parent]) as session:
        saved = session.save(source, parent=parent, description=…)
        (manifest,) = session.commit([saved])

Order: `open` → packs → index → `commit` → `end`.  Nothing before `commit` is promised, everything after it is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from restead.domain.errors import Unavailable
from restead.domain.ids import ManifestId, ProjectId
from restead.ports import BlockSource, BlockTarget
from restead.repository.backup import Saving, Studio
from restead.repository.chunk import Names
from restead.repository.index import Index
from restead.repository.known import Known
from restead.repository.log import Commit, Log, ManifestEntry, State
from restead.repository.manifest import ROOT_LIMIT, DiskDescription, Manifest, Root
from restead.repository.pack import PackReader, Shelf
from restead.repository.progress import Count, Progress
from restead.repository.reader import Reader
from restead.repository.restore import Restoring
from restead.repository.seal import Kind
from restead.repository.tree import PAGE_LIMIT, Tree
from restead.repository.verify import Verifying


@dataclass(frozen=True, slots=True)
class Window:
    """How much is done at once: this bounds memory, whatever the size of disks and repository."""

    backup_threads: int = 3  # each: a 2 MiB unit, a sealed chunk, one pack under construction (on disk)
    restore_threads: int = 4  # each: a 2 MiB unit, 4 MiB of sealed bytes


@dataclass(frozen=True, slots=True)
class Saved:
    """A disk that is in the repository, but in no manifest yet."""

    session: int
    label: str  # becomes the manifest's: the caller's own mark
    root: bytes  # name of the root, 32 bytes: the proof of the whole disk
    size: int  # bytes
    count: Count


class Room:
    """What is needed to read and write one project's things."""

    def __init__(self, shelf: Shelf, names: Names, index: Index) -> None:
        self.shelf = shelf
        self.names = names
        self.index = index
        self.reader = Reader(PackReader(shelf), index, names)

    def root(self, name: bytes) -> Root:
        """Return a root object.  Raises Damaged."""
        return Root.decode(self.reader.thing(Kind.ROOT, name, ROOT_LIMIT), f"root {name.hex()}")

    def manifest(self, entry: ManifestEntry) -> Manifest:
        """Return a manifest with its root object.  Raises Damaged."""
        return Manifest(entry.id, entry.project, entry.label, entry.root, self.root(entry.root))

    def tree(self, root: Root) -> Tree:
        """Return the page tree of a disk."""
        return Tree(root, lambda page: self.reader.thing(Kind.PAGE, page, PAGE_LIMIT))


def _tell_nobody(progress: Progress) -> None:
    """Progress that nobody asked for."""


def _go_on() -> None:
    """A check that always lets the work go on."""


class Session:
    """An open session.  Several disks may be saved or restored at the same time, by several threads."""

    def __init__(
        self, number: int, project: ProjectId, reads: Mapping[ManifestId, Manifest], room: Room, log: Log,
        view: State, window: Window, scratch: Path, chunk_size: int,
    ) -> None:  # fmt: skip
        self.number = number  # of its `open` in the log
        self.project = project
        self._reads = reads
        self._room = room
        self._log = log
        self._window = window
        known = Known(room.index, view.condemned)
        self._studio = Studio(room.shelf, room.names, known, scratch, chunk_size, window.backup_threads)
        self._lock = Lock()
        self._saving = 0
        self._broken = False

    def save(
        self,
        source: BlockSource,
        *,
        parent: ManifestId | None = None,
        description: DiskDescription,
        label: str = "",
        progress: Callable[[Progress], None] = _tell_nobody,
        check: Callable[[], None] = _go_on,
    ) -> Saved:
        """Store all bytes of *source*; when this returns they are durable and in the index.

        *parent*, one of the session's `reads`, is an earlier backup of the disk: what is unchanged costs a hash.
        *check* is called for every 2 MiB of each thread and ends the work by raising.

        Raises:
            Damaged: a page of the parent is lost or damaged.
            Unavailable: the source or the store did not answer; the session can save nothing more.
        """
        base = None if parent is None else self._room.tree(self._manifest(parent).root)
        self._begin()
        done = False
        try:
            root, count = Saving(self._studio, source, base, progress, check).run(description)
            done = True
        finally:
            with self._lock:
                self._saving -= 1
                # A name that was claimed and not stored may have been believed by another disk of this session.
                self._broken = self._broken or not done
        return Saved(self.number, label, root, source.size, count)

    def commit(self, saved: Sequence[Saved]) -> list[ManifestId]:
        """Make these disks manifests, all at one moment; return their ids in the same order.

        Raises:
            Unavailable: the session was ended by somebody else, or a disk of it could not be saved: begin anew.
        """
        strangers = [one.session for one in saved if one.session != self.number]
        if strangers or not saved:
            raise ValueError(f"session {self.number} cannot commit {len(saved)} disks, of other sessions: {strangers}")
        with self._lock:
            if self._broken or self._saving:
                raise Unavailable(f"session {self.number} did not finish saving: nothing of it can be committed")
        number = self._log.append(Commit(self.number, [(one.root, one.label) for one in saved]))
        return [ManifestId(f"{number}.{ordinal}") for ordinal in range(len(saved))]

    def restore(
        self,
        manifest: ManifestId,
        target: BlockTarget,
        *,
        progress: Callable[[Progress], None] = _tell_nobody,
        check: Callable[[], None] = _go_on,
        target_is_new: bool = False,
    ) -> Count:
        """Make *target* hold exactly what *manifest*, one of the session's `reads`, holds; zeroes behind its end.

        It is flushed, and the manifest's root name was computed again from what was written.  *target_is_new*: it is
        known to be all zero.  *check* is called before every write.

        Raises:
            InvalidRequest: the target is too small; nothing was written.
            Damaged: *ranges* of the disk are lost or damaged; the target holds a part of the backup.
        """
        found = self._manifest(manifest)
        threads = self._window.restore_threads
        work = Restoring(self._room.reader, found.root, target, threads, progress, check, target_is_new)
        return work.run(found.root_name, self._room.tree(found.root))

    def verify(
        self,
        manifest: ManifestId,
        *,
        progress: Callable[[Progress], None] = _tell_nobody,
        check: Callable[[], None] = _go_on,
    ) -> Count:
        """Read all of *manifest*, one of the session's `reads`, and check every bit.

        Raises:
            Damaged: with all *ranges* of the disk that are lost or damaged.
        """
        root = self._manifest(manifest).root
        work = Verifying(self._room.reader, root, self._window.restore_threads, progress, check)
        return work.run(self._room.tree(root))

    def _manifest(self, id: ManifestId) -> Manifest:
        try:
            return self._reads[id]
        except KeyError:
            # Only what was named in `open` is kept from collection for us.
            raise ValueError(f"session {self.number} does not read manifest {id}") from None

    def _begin(self) -> None:
        with self._lock:
            if self._broken:
                raise Unavailable(f"session {self.number} could not save a disk before: begin a new one")
            self._saving += 1


