"""Backups copied into another repository, with another key, one at a time.

A copy is an ordinary backup in the other one, of a disk that is read from this one: every byte is verified on its way
out, named and sealed anew on its way in.  It has the project, the session's and the disk's label and the description
of the first, by which it is known again: as there already, or by a service that is rebuilt from the copy alone.
All disks of a backup become manifests at one moment.

What was copied before is its parent.  Where this repository still has what that was copied from, both page trees here
say what has changed, and nothing else is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from threading import Lock

from restead.domain.copied import Copied, CopyState, DamagedSource
from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ManifestId, ProjectId, RunId, canonical_id
from restead.repository.backup import Saved
from restead.repository.log import ManifestEntry
from restead.repository.progress import Progress
from restead.repository.reads import go_on
from restead.repository.repository import Repository
from restead.repository.session import Session
from restead.repository.survey import Hint

KEEP_EVERY = 1 << 30  # bytes of new chunks, after which a copy that is killed need not store them again
_TRIES = 5  # while backups are deleted under our hands

Disks = Sequence[ManifestEntry]  # those of one backup
_Key = tuple[ProjectId, str, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    """One disk to copy."""

    entry: ManifestEntry
    before: ManifestEntry | None  # another moment of that disk, here
    parent: ManifestEntry | None  # there: the copy of *before* if that is known, else the newest of that disk


def tell_nobody(done: int, total: int) -> None:
    """Progress that nobody asked for."""


class Copier:
    """Copies from one repository to another; the only one at that work, as far as its caller can make sure."""

    def __init__(
        self,
        source: Repository,
        destination: Repository,
        *,
        told: Callable[[int, int], None] = tell_nobody,
        check: Callable[[], None] = go_on,
        keep_every: int = KEEP_EVERY,
    ) -> None:
        """*told*: bytes of the disks of a backup that are done, and of all.  *check* ends the work by raising.

        Raises:
            InvalidRequest: both are the same.
        """
        if source.keyring.repository_id == destination.keyring.repository_id:
            raise InvalidRequest("that is this repository itself, or a copy of its files: a second one has another id")
        self._source = source
        self._destination = destination
        self._label = f"copy to {destination.keyring.repository_id.hex()}"
        self._told = told
        self._check = check
        self._keep_every = keep_every
        self._found: DamagedSource | None = None  # what is damaged of the backup that is being copied

    def backups(self, project: ProjectId | None = None) -> list[Disks]:
        """Return what there is to copy, oldest first; what earlier copies left behind when they died is ended."""
        view = self._source.log.refresh()
        for session in list(view.labelled(self._label)):
            if session.open:
                self._source.end(session.number)
        entries = [each for each in view.manifests.values() if project in (None, each.project)]
        return [list(disks) for _, disks in groupby(entries, lambda each: each.session)]

    def copy_all(self, backups: Sequence[Disks]) -> Iterator[Copied]:
        """Copy these, and yield each when it is done."""
        there = {_key(each) for each in self._destination.log.refresh().manifests.values()}
        ambiguous = self._ambiguous()
        for disks in backups:
            if all(_key(each) in there and _key(each) not in ambiguous for each in disks):
                yield _nothing(CopyState.THERE, disks)
            else:
                yield self._copy(disks)

    def _copy(self, disks: Disks) -> Copied:
        near, self._found = True, None
        for _ in range(_TRIES):
            self._check()
            try:
                return self._try(disks, near=near)
            except NotFound:
                pass  # deleted between our look and our session, in either repository: look again
            except Damaged as error:
                if self._found is not None or not near:
                    return _damaged(disks, self._found or self._which(disks, error))
                near = False  # perhaps only what was to spare us work is damaged
        raise Unavailable(f"backups of project {disks[0].project} are deleted faster than they can be copied")

    def _try(self, disks: Disks, *, near: bool) -> Copied:
        here = self._source.log.refresh().manifests
        left = [each for each in disks if here.get(each.id) == each]
        if not left:
            return _nothing(CopyState.GONE, disks)
        plans = self._plans(left, here, near=near)
        if not plans:
            return _nothing(CopyState.THERE, disks)
        project, label = left[0].project, left[0].session_label
        reads = _ids([plan.entry for plan in plans], [plan.before for plan in plans])
        with self._source.session(project, label=self._label, reads=reads) as out:
            for session in self._destination.sessions(label):
                if session.open:  # of a copy that was killed: its packs are in the index, and serve us
                    self._destination.end(session.number)
            parents = _ids([plan.parent for plan in plans])
            with self._destination.session(project, label=label, reads=parents) as into:
                saved = self._save(plans, out, into)
                into.commit(saved)
        return _copied(left, saved)

    def _save(self, plans: Sequence[_Plan], out: Session, into: Session) -> list[Saved]:
        """Store all disks.  Raises Damaged; of the first disk that is damaged everything that is lost was found."""
        total = sum(out.manifests[plan.entry.id].size for plan in plans)
        done, saved = 0, []
        for plan in plans:
            keeping = _Keeping(into, self._keep_every, done, total, self._told)
            try:
                saved.append(self._save_disk(plan, out, into, keeping))
            except Damaged:
                if plan.parent is None:
                    self._found = self._all_damage(plan.entry, out)
                raise
            done += saved[-1].size
        return saved

    def _all_damage(self, entry: ManifestEntry, out: Session) -> DamagedSource | None:
        """Return all that is lost of a disk here; None if nothing is: what was met was damaged in the other one."""
        try:
            out.verify(entry.id, check=self._check)
        except Damaged as error:
            return DamagedSource(entry.label, error.message, error.ranges)
        return None

    def _which(self, disks: Disks, error: Damaged) -> DamagedSource:
        """Return what is damaged, if it was met before any disk was read."""
        for entry, manifest in self._source.described(disks):
            if isinstance(manifest, Damaged):
                return DamagedSource(entry.label, manifest.message)
        return DamagedSource(disks[0].label, error.message, error.ranges)

    def _save_disk(self, plan: _Plan, out: Session, into: Session, progress: "_Keeping") -> Saved:
        id = plan.entry.id
        parent = None if plan.parent is None else plan.parent.id
        return into.save(
            out.source(id), parent=parent, description=out.manifests[id].description, label=plan.entry.label,
            hint=_hint(plan, out, into), progress=progress, check=self._check,
        )  # fmt: skip

    def _plans(self, disks: Disks, here: Mapping[ManifestId, ManifestEntry], *, near: bool) -> list[_Plan]:
        """Return what is to be done for those disks that are not there yet."""
        there: dict[_Key, list[ManifestEntry]] = {}
        newest: dict[tuple[ProjectId, str], ManifestEntry] = {}
        for each in self._destination.log.refresh().manifests.values():
            there.setdefault(_key(each), []).append(each)
            newest[each.project, canonical_id(each.label)] = each
        plans = []
        for entry in disks:
            if self._is_there(entry, there.get(_key(entry), ())):
                continue
            before, parent = self._before(entry, here, there) if near else (None, None)
            if near and parent is None:
                parent = newest.get((entry.project, canonical_id(entry.label)))
            plans.append(_Plan(entry, before, parent))
        return plans

    def _before(
        self, entry: ManifestEntry, here: Mapping[ManifestId, ManifestEntry], there: Mapping[_Key, Disks]
    ) -> tuple[ManifestEntry | None, ManifestEntry | None]:
        """Return the nearest other moment of a disk that is copied already, and its copy."""
        found: ManifestEntry | None = None
        past = False
        for each in here.values():  # oldest first
            past = past or each.id == entry.id
            same = each.project == entry.project and canonical_id(each.label) == canonical_id(entry.label)
            if same and each.id != entry.id and _key(each) in there:
                found = each
                if past:
                    break
            if past and found is not None:
                break
        return (None, None) if found is None else (found, there[_key(found)][-1])

    def _is_there(self, entry: ManifestEntry, others: Disks) -> bool:
        """Tell whether one of those in the other repository, with the same labels, is a copy of *entry*."""
        if not others or _key(entry) not in self._ambiguous():
            return bool(others)
        mine = self._source.manifest(entry.id)
        theirs = [self._destination.manifest(other.id) for other in others]
        return any((each.size, each.description) == (mine.size, mine.description) for each in theirs)

    def _ambiguous(self) -> set[_Key]:
        """Return the labels that more than one manifest here has: of these, more must be the same."""
        seen: set[_Key] = set()
        twice: set[_Key] = set()
        for each in self._source.log.refresh().manifests.values():
            (twice if _key(each) in seen else seen).add(_key(each))
        return twice


class _Keeping:
    """Progress of one disk: passed on, and every so often what is stored is put into the index."""

    def __init__(
        self, session: Session, every: int, before: int, total: int, told: Callable[[int, int], None]
    ) -> None:
        self._session = session
        self._every = every
        self._before = before
        self._total = total
        self._told = told
        self._kept = 0
        self._lock = Lock()  # all threads of the disk come by; people are told by one at a time

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            self._told(self._before + progress.done, self._total)
            due = progress.count.new - self._kept >= self._every
            self._kept = progress.count.new if due else self._kept
        if due:
            self._session.keep_so_far()


def _hint(plan: _Plan, out: Session, into: Session) -> Hint | None:
    """Return where a disk may differ from its parent, if what the parent was copied from is known for sure."""
    if plan.before is None or plan.parent is None:
        return None
    before, copy, wanted = out.manifests[plan.before.id], into.manifests[plan.parent.id], out.manifests[plan.entry.id]
    if (before.size, before.description) != (copy.size, copy.description) or before.size != wanted.size:
        return None
    return Hint(copy.id, out.changed(before.id, wanted.id), guaranteed=True)


def _key(entry: ManifestEntry) -> _Key:
    """Return what a copy has in common with the first, and no other disk backup."""
    return entry.project, entry.session_label, canonical_id(entry.label)


def _ids(*groups: Sequence[ManifestEntry | None]) -> list[ManifestId]:
    return list(dict.fromkeys(each.id for group in groups for each in group if each is not None))


def _nothing(state: CopyState, disks: Disks) -> Copied:
    return Copied(state, disks[0].project, RunId(disks[0].session_label), len(disks))


def _damaged(disks: Disks, damage: DamagedSource) -> Copied:
    return replace(_nothing(CopyState.DAMAGED, disks), damage=[damage])


def _copied(disks: Disks, saved: Sequence[Saved]) -> Copied:
    return replace(
        _nothing(CopyState.COPIED, disks), size=sum(each.size for each in saved),
        read=sum(each.count.read for each in saved), stored=sum(each.count.stored for each in saved),
    )  # fmt: skip
