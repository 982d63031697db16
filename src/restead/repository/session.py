"""A session: what may be built on, and read, from its `open` in the log to its `end`.

    with repository.session(project, label="…", reads=[parent]) as session:
        saved = session.save(source, parent=parent, description=…)
        (manifest,) = session.commit([saved])

Order: `open` → packs → index → `commit` → `end`.  Nothing before `commit` is promised, everything after it is kept.

A restore that can be undone:

    with repository.session(project, label="…", reads=[wanted]) as session:
        survey = session.survey(target, wanted, description=…)
        session.check_wanted(survey, target)
        (before,) = session.commit([survey], pins=[wanted])
        session.rewrite(survey, wanted, target, expect=True, on_mark=…)
    repository.end(session.number, unpin=True)

After a crash in `rewrite`: `repository.rejoin(number)`, then `rewrite(before, wanted, target, after=the last mark)` and
`reread(wanted, target)`; or, to put everything back, `rewrite(wanted, before, target)` and `reread(before, target)`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from restead.domain.errors import Code, Damaged, InvalidRequest, Unavailable
from restead.domain.ids import ManifestId, ProjectId
from restead.ports import BlockSource, BlockTarget, KeepsSpace, LimitsSpace
from restead.repository.backup import Noting, Saved, Saving, Studio
from restead.repository.difference import damage
from restead.repository.holes import Holed, with_holes
from restead.repository.keeping import Comparing, Packing
from restead.repository.known import Known
from restead.repository.log import Commit, Log, State
from restead.repository.manifest import DiskDescription, Manifest
from restead.repository.noted import Noted
from restead.repository.progress import Count, Progress
from restead.repository.ranges import Range, joined
from restead.repository.reads import Held, Reads, go_on, tell_nobody
from restead.repository.rehearse import Rehearsing, pieces_of_data
from restead.repository.room import Room, Window
from restead.repository.survey import Hint, Survey, Surveying, measure
from restead.repository.tree import Tree


def never() -> bool:
    """What is never due."""
    return False


class Session(Reads):
    """An open session.  Several disks may be saved or restored at the same time, by several threads."""

    def __init__(
        self, number: int, project: ProjectId, reads: Mapping[ManifestId, Manifest], room: Room, log: Log,
        view: State, window: Window, scratch: Path, chunk_size: int,
    ) -> None:  # fmt: skip
        super().__init__(number, project, reads, room, window)
        self._log = log
        self._noted = Noted(number, log)
        known = Known(room.index, view.condemned, room.lost)
        self._studio = Studio(room.shelf, room.names, known, scratch, chunk_size, window.backup_threads)
        self._lock = Lock()
        self._saving = 0
        self._broken = False
        self.left_open = False

    def save(
        self,
        source: BlockSource,
        *,
        parent: ManifestId | None = None,
        description: DiskDescription,
        label: str = "",
        hint: Hint | None = None,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
        due: Callable[[], bool] = never,
    ) -> Saved:
        """Store all bytes of *source*; when this returns they are durable and in the index.

        *parent*, one of the session's `reads`, is an earlier backup of the disk: what is unchanged costs a hash.
        *hint*: what need not even be read, because it surely is as in the parent.  *check* is called for every 2 MiB of
        each thread and ends the work by raising.  *due* is asked as often, but with a hint never: when it
        is true, what is finished of the session's disks is made durable and noted in the log as partial manifests.  A
        session that reads them (`Repository.partial`) finds all of it stored, whatever is collected meanwhile.

        Raises:
            Damaged: a page of the parent is lost or damaged.
            Unavailable: the source or the store did not answer; the session can save nothing more.
        """
        base = None if parent is None else self._room.tree(self._manifest(parent).root)
        hinted = self._hinted(hint)
        self._begin()
        done = False
        try:
            disk = self._noted.disk(label)
            if base is not None and hinted is not None:
                work: Saving = Surveying(self._studio, source, base, hinted, self._packing(), progress, check)
            else:
                noting = Noting(due, disk)
                work = Saving(self._studio, source, base, self._packing(), progress, check, noting)
            root, count = work.run(description)
            self._noted.finished(disk, root, label)
            done = True
        finally:
            self._saved(done)
        return Saved(self.number, label, root, source.size, count)

    def commit(self, saved: Sequence[Saved], *, pins: Sequence[ManifestId] = ()) -> list[ManifestId]:
        """Make these disks manifests, all at one moment; return their ids in the same order.

        *pins*, some of the session's `reads`, and these manifests are kept, whoever deletes them, until the session
        is ended with `unpin`: also when it is over, so that a restore can be taken up by another process.

        Raises:
            Unavailable: the session was ended by somebody else, or a disk of it could not be saved: begin anew.
        """
        for one in saved:
            if isinstance(one, Survey) and not one.stored:
                raise ValueError(f"what the target of {one.wanted} holds was not stored: it cannot be committed")
        strangers = [one.session for one in saved if one.session != self.number]
        if strangers or not saved:
            raise ValueError(f"session {self.number} cannot commit {len(saved)} disks, of other sessions: {strangers}")
        with self._lock:
            if self._broken or self._saving:
                raise Unavailable(f"session {self.number} did not finish saving: nothing of it can be committed")
        number = self._log.append(Commit(self.number, [(one.root, one.label) for one in saved], list(pins)))
        made = [ManifestId(f"{number}.{ordinal}") for ordinal in range(len(saved))]
        for id, one in zip(made, saved, strict=True) if pins else ():
            self._reads[id] = Manifest(id, self.project, one.label, one.root, self._room.root(one.root))
        return made

    def survey(
        self,
        target: BlockSource,
        wanted: ManifestId,
        *,
        description: DiskDescription,
        label: str = "",
        keep: bool = True,
        hint: Hint | None = None,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Survey:
        """Read all of *target* and say how it differs from *wanted*, one of the session's `reads`.

        *keep*: what stands there is in the repository when this returns, and can be committed; else nothing of it is
        stored.  *hint*: what need not be read; then *proven* is what the hint guarantees.

        What of *wanted* is lost is no error here, and told by `check_wanted`.

        Raises:
            InvalidRequest: the target is smaller than what is wanted.
            Unavailable: as `save`.
        """
        found = self._manifest(wanted)
        _check_size(found, target)
        tree = self._room.tree(found.root)
        hinted = self._hinted(hint)
        self._begin()
        done = False
        try:
            keeper = self._packing() if keep else Comparing(self._studio.known, self._studio.scratch)
            work = Surveying(self._studio, target, tree, hinted, keeper, progress, check)
            root, count = work.run(description)
            done = True
        finally:
            self._saved(done)
        there = self._room.tree(work.root, keeper.page if isinstance(keeper, Comparing) else None)
        gone, (to_write, to_zero) = _measured(there, tree)
        proven = hint is None or hint.guaranteed or not work.used_hint
        kept = target.size - to_write - to_zero
        return Survey(
            self.number, label, root, target.size, count, keep, wanted, kept, to_write, to_zero, proven, there,
            gone,
        )

    def check_wanted(
        self,
        survey: Survey,
        target: BlockTarget,
        *,
        lost: Sequence[Range] = (),
        compare: bool = False,
        unpack: bool = False,
        progress: Callable[[Progress], None] = tell_nobody,
        check: Callable[[], None] = go_on,
    ) -> Count:
        """Fetch and verify all that rewriting *target* needs, and write nothing; return what it would do.

        *lost*: what is given up, and not fetched.  *compare*: the target is read again where it differs, and the
        numbers are exact; else they say what chunks differ.  *unpack*: everything is decompressed and compared with
        its name, too; else it is authenticated as what was sealed under that name.

        Raises:
            Damaged: with all *ranges* of the disk for which something is lost or damaged.
        """
        gone = [] if lost else list(survey.gone)
        crossing = self._crossing(survey, Holed(survey.wanted, tuple(lost)), target, progress, check)
        return Rehearsing(crossing, compare=compare, unpack=unpack or compare, gone=gone).run()

    def check_kept(self, survey: Survey, want: Held, target: BlockTarget, *, check: Callable[[], None] = go_on) -> None:
        """Fetch and verify all that turning *target* back would need: a survey counts on what is stored already.

        Raises:
            Damaged: some of it is lost.  A survey that is made now in this session stores it again.
        """
        crossing = self._crossing(want, survey, target, check=check)
        Rehearsing(crossing, compare=False, unpack=False, gone=list(damage(crossing.have, crossing.want))).run()

    def reserve(
        self, survey: Survey, want: Held, target: BlockTarget, *, check: Callable[[], None] = go_on
    ) -> None:
        """Let *target*, if it can, allocate all that a rewriting will need.

        Raises:
            Unavailable: there is no space.
            InvalidRequest: there is less than it takes where space has an end.
        """
        crossing = self._crossing(survey, want, target, check=check)
        if isinstance(target, KeepsSpace):
            for offset, length in crossing.stretches(zero=False):
                target.reserve(offset, length)
        if isinstance(target, LimitsSpace) and target.limited:
            try:
                target.require_room(crossing.stretches(zero=False))
            except InvalidRequest:  # chunks are more than what is written of them, and to know that takes fetching
                target.require_room(pieces_of_data(crossing))

    def leave_open(self) -> None:
        """Let the session not be ended when its block is left: whoever finds it by its label does that."""
        self.left_open = True

    def keep_so_far(self) -> None:
        """Put what is durable into the index: whoever begins anew after a crash need not store it again."""
        self._studio.known.flush()

    def _hinted(self, hint: Hint | None) -> tuple[Tree, Sequence[Range]] | None:
        if hint is None or self._room.lost:
            return None  # what is lost and may stand here has to be read, to be stored again
        return self._room.tree(self._manifest(hint.manifest).root), hint.changed

    def _packing(self) -> Packing:
        studio = self._studio
        return Packing(studio.shelf, studio.known, studio.scratch, studio.threads)

    def _saved(self, done: bool) -> None:
        with self._lock:
            self._saving -= 1
            # A name that was claimed and not stored may have been believed by another disk of this session.
            self._broken = self._broken or not done

    def _begin(self) -> None:
        with self._lock:
            if self._broken:
                raise Unavailable(f"session {self.number} could not save a disk before: begin a new one")
            self._saving += 1


def _ranges_of(damages: Sequence[Damaged]) -> list[Range]:
    return joined(each for one in damages for each in one.ranges)


def _measured(there: Tree, wanted: Tree) -> tuple[list[Damaged], tuple[int, int]]:
    """Return what pages of *wanted* are lost, and what differs elsewhere.  Where none is, the trees are walked once."""
    try:
        return [], measure(there, wanted)
    except Damaged:
        gone = list(damage(there, wanted))
        return gone, measure(there, with_holes(wanted, _ranges_of(gone)))


def _check_size(wanted: Manifest, target: BlockSource) -> None:
    if target.size < wanted.size:
        raise InvalidRequest(
            f"the target holds {target.size} bytes, the backup needs {wanted.size}", code=Code.TARGET_TOO_SMALL
        )
