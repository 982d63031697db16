"""What a session may do with what it reads: restore it, verify it, turn a target into it and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from restead.domain.ids import ManifestId, ProjectId
from restead.ports import BlockSource, BlockTarget, KeepsSpace
from restead.repository.crossing import Crossing
from restead.repository.holes import Holed, with_holes
from restead.repository.manifest import Manifest
from restead.repository.marks import Marks
from restead.repository.progress import Count, Progress
from restead.repository.ranges import Range
from restead.repository.reread import Rereading
from restead.repository.restore import Restoring
from restead.repository.rewrite import Rewriting
from restead.repository.room import Room, Window
from restead.repository.source import ManifestSource, changed_ranges
from restead.repository.survey import Survey
from restead.repository.tree import Tree
from restead.repository.verify import Verifying

_TARGET_THREADS = 8
Held = ManifestId | Holed | Survey  # what a disk holds, by name, but for what is lost, or as it was just surveyed


def tell_nobody(progress: Progress) -> None:
    """Progress that nobody asked for."""


def go_on() -> None:
    """A check that always lets the work go on."""


def _mark_nothing(offset: int) -> None:
    """Marks that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What rewriting a target was like."""

    count: Count
    proven: bool  # by this life alone; else `reread` must do it


class Reads:
    """The manifests of one session, which are kept for it.  Any number of disks at once, by any number of threads."""

    def __init__(
        self, number: int, project: ProjectId, reads: Mapping[ManifestId, Manifest], room: Room, window: Window
    ) -> None:
        self.number = number  # of the session's `open` in the log
        self.project = project
        self._reads = dict(reads)
        self._room = room
        self._window = window

    @property
    def manifests(self) -> Mapping[ManifestId, Manifest]:
        """All that may be read."""
        return self._reads

    def rewrite(
        self,
        have: Held,
        want: Held,
        target: BlockTarget,
        *,
        after: int = 0,
        on_mark: Callable[[int], None] = _mark_nothing,
        expect: bool = False,
        blind: bool = False,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Rewritten:
        """Turn *target*, which held *have*, into *want*, writing only the 4 KiB pieces that differ; flush it.

        Any part of it may have been written before, or torn by a crash.  *on_mark* is told offsets up to which all is
        done and flushed, the target's size last; *after* is the last that an earlier life was told.  *expect*: nobody
        of us has written yet: whatever is about to be overwritten must be as surveyed.  *blind*: a flush of this
        target has failed before, and what is read is not believed.  *check* is called before every write.

        Raises:
            InvalidRequest: the target is not as large as it was.
            Damaged: *ranges* are lost or damaged in the repository, or somebody else has written to the target.
            Unavailable: the target or the store did not answer; after a failed flush nothing is known of the target.
        """
        crossing = self._crossing(have, want, target, progress, check)
        fresh = [one.proven for one in (have, want) if isinstance(one, Survey) and one.session == self.number]
        if not fresh:
            target.flush()  # what an earlier life has written; if it fails here, it must not be believed later
        marks = Marks(target.flush, on_mark, self._window.unmarked, after=after)
        work = Rewriting(crossing, marks, after=after, expect=expect, blind=blind, later=not fresh)
        count = work.run(self._root_name(want))
        return Rewritten(count, proven=any(fresh) and after == 0)

    def reread(
        self,
        want: Held,
        target: BlockSource,
        *,
        past_caches: bool = True,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Count:
        """Read all of *target*, from the medium itself where the driver can, and compare it with *want*.

        Raises:
            Damaged: *ranges* of the target are not what they should be.
        """
        tree = self._tree(want)
        # The target is ours and near: where threads are many to wait for the store, so many would gain nothing here.
        threads = min(self._window.restore_threads, _TARGET_THREADS)
        work = Rereading(
            self._room.names, tree.root, target, threads, progress, check, past_caches=past_caches
        )  # fmt: skip
        return work.run(tree)

    def release(self, have: Held, want: Held, target: BlockTarget) -> None:
        """Let *target*, which was turned from *have* into *want*, give back the space of what became zero."""
        if isinstance(target, KeepsSpace):
            for offset, length in self._crossing(have, want, target).stretches(zero=True):
                target.punch(offset, length)

    def restore(
        self,
        manifest: ManifestId,
        target: BlockTarget,
        *,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
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
        threads = self._window.whole_threads
        work = Restoring(self._room.reader, found.root, target, threads, progress, check, target_is_new)
        return work.run(found.root_name, self._room.tree(found.root))

    def verify(
        self,
        manifest: ManifestId,
        *,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Count:
        """Read all of *manifest*, one of the session's `reads`, and check every bit.

        Raises:
            Damaged: with all *ranges* of the disk that are lost or damaged.
        """
        root = self._manifest(manifest).root
        work = Verifying(self._room.reader, root, self._window.whole_threads, progress, check)
        return work.run(self._room.tree(root))

    def source(self, manifest: ManifestId) -> BlockSource:
        """Return *manifest*, one of the session's `reads`, as a disk to read from while the session is open.

        What is lost or damaged is met when it is read, and raises Damaged with its *ranges*.
        """
        return ManifestSource(self._room.reader, self._room.tree(self._manifest(manifest).root))

    def changed(self, before: ManifestId, after: ManifestId) -> list[Range]:
        """Return what of *after* may be other bytes than in *before*; no chunk is read.  Raises Damaged."""
        return changed_ranges(self._tree(before), self._tree(after))

    def _manifest(self, id: ManifestId) -> Manifest:
        try:
            return self._reads[id]
        except KeyError:
            # Only what was named in `open` is kept from collection for us.
            raise ValueError(f"session {self.number} does not read manifest {id}") from None

    def _tree(self, held: Held) -> Tree:
        if isinstance(held, Survey):
            return held.tree
        if isinstance(held, Holed):
            return with_holes(self._tree(held.manifest), held.lost)
        return self._room.tree(self._manifest(held).root)

    def _root_name(self, held: Held) -> bytes:
        if isinstance(held, Survey):
            return held.root
        return self._manifest(held.manifest if isinstance(held, Holed) else held).root_name

    def _crossing(
        self,
        have: Held,
        want: Held,
        target: BlockTarget,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Crossing:
        have_tree, want_tree = self._tree(have), self._tree(want)
        return Crossing(self._room.reader, have_tree, want_tree, target, self._window, progress, check)
