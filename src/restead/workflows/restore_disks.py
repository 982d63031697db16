"""One target disk of a restore: compared, written, proven, put back."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.domain.ids import ManifestId, RestoreId, VolumeId
from restead.domain.known import KnownDisk
from restead.domain.restore import PlannedVolume, Restore, RestorePlan
from restead.domain.states import Event, RestorePhase
from restead.ports import BlockTarget, Consistency, HasIdentity, ReadsPastCaches, TracksChanges, Volumes
from restead.records import Records, RecordsUnavailable, known, restores
from restead.records.encoding import plain
from restead.repository import DiskDescription, Held, Hint, Holed, ManifestEntry, Reads, Repository, Session, Survey
from restead.repository.verify import MOST_RANGES
from restead.workflows.restore_progress import RestoreProgress
from restead.workflows.restore_watch import Watch
from restead.workflows.story import DurableRun
from restead.workflows.target import WatchedTarget

log = structlog.get_logger()

_DECIDED = (RestorePhase.WRITING, RestorePhase.PROVING, RestorePhase.PUTTING_BACK, RestorePhase.STARTING)

Json = dict[str, Any]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all disks of one life of a restore share."""

    records: Records
    run: DurableRun
    restore: Restore  # as it stood when this life began
    plan: RestorePlan
    repository: Repository
    volumes: Volumes
    watch: Watch
    progress: RestoreProgress

    @property
    def id(self) -> RestoreId:
        return self.restore.id


class Disk:
    """One target disk in one life of a restore."""

    def __init__(self, around: Surroundings, ordinal: int) -> None:
        self.ordinal = ordinal
        self.mark = around.restore.volumes[ordinal].mark
        self.lost = around.restore.volumes[ordinal].lost  # of what is wanted: it becomes zeroes
        self.survey: Survey | None = None
        self.before: ManifestId | None = None  # what it held, as an earlier life has saved it
        self.hint: Hint | None = None  # what of it need not be read
        self._around = around
        self._volume: PlannedVolume = around.plan.volumes[ordinal]
        self._open = ExitStack()
        self._target: WatchedTarget | None = None
        self._tracker: TracksChanges | None = None
        # Of the disk that was compared; before the first write it may still be another that is compared anew.
        self.identity = around.restore.volumes[ordinal].identity if around.restore.phase in _DECIDED else ""
        self._tried = False  # this life has begun to write to it
        self._back = False  # and has turned round
        self._proven = False
        self._doubtful = False  # a write or a flush has failed: what is read from memory is not believed
        self._differs: Ranges = ()  # where it holds something else than before, if that was read
        self._strange = False  # what stands there is not what we have read or written

    # ------------------------------------------------------------------ opening

    @property
    def wanted(self) -> ManifestId:
        return self._volume.wanted

    @property
    def goal(self) -> Held:
        """What the disk holds in the end: what is wanted, zeroes where that is lost."""
        return Holed(self.wanted, self.lost) if self.lost else self.wanted

    @property
    def target(self) -> WatchedTarget:
        assert self._target is not None, "a disk is used before it is opened"
        return self._target

    @property
    def id(self) -> VolumeId:
        return self._volume.target.id

    def open(self) -> None:
        """Open the disk for writing; nobody else can write to it until it is closed.

        Raises:
            NotFound, Unavailable: as the driver says.
            InvalidRequest: it has become too small.
        """
        self.close()
        around = self._around
        opened = around.volumes.open_target(around.run.project_id, around.plan.server.id, self._volume.target.id)
        disk = self._open.enter_context(opened)
        if disk.size < self._volume.source.size:
            raise InvalidRequest(
                f"disk {self._volume.target.id} holds {disk.size} bytes now, disk backup {self._volume.source.id} "
                f"needs {self._volume.source.size}",
                code=Code.TARGET_TOO_SMALL,
            )
        self._require_same(disk)
        self._target = WatchedTarget(disk, check=self._check, first=self._begin, spend=self._spend)
        self._tracker = disk if isinstance(disk, TracksChanges) else None
        # After a failed flush memory may hold, and call clean, what the disk never got.
        self._target.past_caches = self._in_doubt()

    def _require_same(self, disk: BlockTarget) -> None:
        """Raise Damaged if it is another disk than was opened before, by whatever life: nothing of it was saved."""
        if not isinstance(disk, HasIdentity):
            return
        if self.identity and disk.is_another(self.identity):
            self.close()
            self.mark = 0  # what was flushed is on the other one
            raise Damaged(f"another disk stands in the place of {self.id} since this restore began; it is not touched")
        self.identity = self.identity or disk.identity()

    def find_hint(self, there: Mapping[ManifestId, ManifestEntry]) -> None:
        """Set what is known of the open disk, if anything is; *there*: the manifests of the project."""
        around, self.hint = self._around, None
        if self._tracker is None or self.target.past_caches or around.restore.request.readback:
            return  # who asks for everything to be read does not want to rely on what is known
        with around.records.read() as tx:
            found = known.known(tx, around.run.project_id, self.id)
        entry = None if found is None else there.get(found.manifest)
        if found is None or entry is None or entry.root.hex() != found.root:
            return
        changed = self._tracker.changed_since(found.generation)
        if changed is not None:
            self.hint = Hint(found.manifest, changed, guaranteed=True)

    def _in_doubt(self) -> bool:
        around = self._around
        with around.records.read() as tx:
            return restores.in_doubt(tx, around.run.project_id, self.id)

    def close(self) -> None:
        """Let the disk go."""
        self._target = None
        self._open.close()

    def _begin(self) -> None:
        """Make it durable that the disk is being written to."""
        around = self._around
        around.run.record(lambda tx: restores.move_volume(tx, around.id, self.ordinal, Event.BEGIN))

    def _spend(self, length: int) -> None:
        self._around.watch.spend(length, self._check)

    def _check(self) -> None:
        """What is asked before each write: no cancel stops putting back."""
        if self._back:
            self._around.watch.check_lease()
        else:
            self._around.watch.check()

    # ------------------------------------------------------------------ forward

    def compare(self, session: Session, check: Callable[[], None]) -> None:
        """Find out what stands there, and store it if the restore is to be undone."""
        self.mark = 0
        self.survey = session.survey(
            self.target,
            self.wanted,
            description=self._description(),
            label=self.id,
            keep=self._around.restore.request.safety,
            hint=self.hint,
            progress=lambda progress: self._around.progress.comparing(self.ordinal, progress),
            check=check,
        )
        differing = self.survey.to_write + self.survey.to_zero
        self._around.progress.compared(self.ordinal, differing, self.survey.count.new if self.survey.stored else 0)

    def check_wanted(self, session: Session, check: Callable[[], None]) -> None:
        """Fetch and verify all that will be written, and write nothing.

        In a salvage what is lost in the repository is given up here, and nowhere else.
        """
        assert self.survey is not None
        self.lost, salvage = (), self._around.restore.request.salvage
        try:
            session.check_wanted(
                self.survey,
                self.target,
                unpack=salvage,
                progress=lambda progress: self._around.progress.checking(self.ordinal, progress),
                check=check,
            )
        except Damaged as error:
            if not (salvage and error.ranges):
                raise
            self.lost = error.ranges

    def check_kept(self, session: Session, check: Callable[[], None]) -> None:
        """Fetch and verify all that putting back needs; what of it is lost is stored again by the next `compare`."""
        assert self.survey is not None
        try:
            session.check_kept(self.survey, self.goal, self.target, check=check)
        except Damaged as error:
            log.warning("what stands on a disk is stored again", disk=self.id, reason=error.message)

    def reserve(self, session: Session, check: Callable[[], None]) -> None:
        """Let the disk allocate what it will need.  Raises Unavailable, InvalidRequest: there is no space."""
        assert self.survey is not None
        session.reserve(self.survey, self.goal, self.target, check=check)

    def write(self, reads: Reads, check: Callable[[], None]) -> Json | None:
        """Write all that differs and flush it; return why that failed, None if it did not.

        Raises:
            Unavailable: nothing is wrong with the disk; it may be tried again.
        """
        first, self._tried = not self._tried and self.survey is not None, True
        fetched = self._around.progress.fetched(self.ordinal)
        try:
            done = reads.rewrite(
                self._held,
                self.goal,
                self.target,
                after=0 if self.survey is not None else self.mark,
                on_mark=self._marked,
                expect=first,
                progress=lambda progress: self._around.progress.writing(self.ordinal, progress, fetched),
                check=check,
            )
        except RecordsUnavailable:
            raise
        except ResteadError as error:
            if isinstance(error, Unavailable) and not self.target.failed:
                raise  # the store did not answer: the disk itself can be written again
            self._strange = isinstance(error, Damaged)
            # What is wanted was checked before, unless nothing but zeroes stood there.
            blank = self.survey is not None and self.survey.blank
            return failure_json(error, "lost" if blank else "where")
        self._proven = done.proven
        return None

    def prove(self, reads: Reads, check: Callable[[], None]) -> Json | None:
        """Return None if every byte is proven, reading the disk again where it takes that; else what is wrong."""
        if self._proven and not self._around.restore.request.readback:
            return None
        try:
            self._reread(reads, self.goal, check)
        except Damaged as error:
            self._strange, self.mark = True, 0
            return failure_json(error, "where")
        return None

    def release(self, reads: Reads, *, back: bool = False) -> None:
        """Give back the space of what has become zero."""
        if self._target is not None and not self._target.failed:
            have, want = (self.goal, self._held) if back else (self._held, self.goal)
            reads.release(have, want, self._target)

    def known(self, reads: Reads, *, back: bool = False) -> KnownDisk | None:
        """Return what the disk holds, decided and flushed; None if a later change of it might go unnoticed."""
        if self._tracker is None or self._target is None or self._target.failed or (self.lost and not back):
            return None
        manifest = reads.manifests[self._saved() if back else self.wanted]
        generation = self._tracker.generation() if manifest.size == self._target.size else ""
        return KnownDisk(manifest.id, manifest.root_name.hex(), generation) if generation else None

    # ------------------------------------------------------------------ back

    def put_back(self, reads: Reads) -> None:
        """Make the disk hold what it held before, flushed and proven.

        Raises:
            Damaged: what it held is lost in the repository, or it does not hold it though it was written.
            Unavailable, NotFound: the disk or the store does not answer; it may be tried again.
        """
        check, self._back, self.mark = self._around.watch.check_lease, True, 0
        if self._target is None or self._target.failed:
            self._doubtful, self._differs = True, ()  # what an earlier try has read may be written since
            try:
                self.open()
            except Unavailable:
                if self._holds_already(reads):
                    return
                raise
        done = reads.rewrite(
            self.goal,
            self._held,
            self.target,
            on_mark=self._marked_back,
            blind=self._doubtful,
            progress=lambda progress: self._around.progress.put_back(self.ordinal, progress),
            check=check,
        )
        if done.proven and not self._doubtful and not self._strange:
            return
        self.mark = 0  # nothing is believed before it is read again
        try:
            self._reread(reads, self._held, check)
        except Damaged:
            self._heal(check)

    def _holds_already(self, reads: Reads) -> bool:
        """Tell whether a disk that does not open for writing holds, on its medium, what it held before.

        It was made read-only perhaps before a single write reached it; if not, it is known where one did.
        """
        around = self._around
        try:
            with around.volumes.open_moment(around.run.project_id, around.plan.server.id, [self.id]) as moment:
                source = moment.sources[self.id]
                if not isinstance(source, ReadsPastCaches) or not isinstance(source, HasIdentity):
                    return False
                if self.identity and source.is_another(self.identity):
                    return False
                reads.reread(self._held, source, check=around.watch.check_lease)
        except Damaged as error:
            if len(error.ranges) < MOST_RANGES:  # else some may not be told
                self._differs = error.ranges
            return False
        except (Unavailable, NotFound):
            return False
        return True

    def doubtful(self) -> Ranges:
        """Return (offset, length) of what may not hold what it should: all behind what is done and flushed."""
        if self._differs:
            return self._differs
        size = self._volume.target.size if self._target is None else self._target.size
        start = 0 if self._target is not None and self._target.failed else self.mark
        return ((start, size - start),) if start < size else ()

    @property
    def _held(self) -> Held:
        """What stood there before the restore."""
        held = self.survey or self.before
        assert held is not None, "a disk is written before it is known what it held"
        return held

    def _heal(self, check: Callable[[], None]) -> None:
        """Compare all of the disk with what it held, and write what differs: somebody else has written there."""
        around, before, self.target.past_caches = self._around, self._saved(), True
        with around.repository.session(around.run.project_id, label=around.run.claim.run_id, reads=[before]) as session:
            now = session.survey(self.target, before, description=self._description(), keep=False, check=check)
            session.rewrite(now, before, self.target, check=check)
            self._reread(session, before, check)

    def _saved(self) -> ManifestId:
        assert self.before is not None, "nothing was saved"
        return self.before

    def _reread(self, reads: Reads, held: Held, check: Callable[[], None]) -> None:
        reads.reread(
            held,
            self.target,
            progress=lambda progress: self._around.progress.rereading(self.ordinal, progress),
            check=check,
        )

    def _marked(self, offset: int) -> None:
        around = self._around
        around.run.record(lambda tx: restores.mark(tx, around.id, self.ordinal, offset))
        self.mark = offset

    def _marked_back(self, offset: int) -> None:
        self.mark = offset

    def _description(self) -> DiskDescription:
        return DiskDescription(
            role="system" if self._volume.target.bootable else "data",
            taken_at=datetime.now(UTC),
            consistency=Consistency.OFFLINE.value,
            server={**plain(self._around.plan.server), "disk": self._volume.target.id, "restore": self._around.id},
        )


def failure_json(error: ResteadError, ranges: str = "lost") -> Json:
    """Return an error as a run's journal keeps it.

    *ranges*: what those of a Damaged are: `lost` in the repository, or `where` on the disk something was found.
    """
    return {"code": error.code.value, "message": error.message, ranges: list(getattr(error, "ranges", ()))}
