"""The part of a restore's story that overwrites disks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restead.domain.errors import Code, InvalidRequest, ResteadError
from restead.domain.ids import ManifestId
from restead.domain.restore import PlannedVolume, Restore, RestorePlan, RestoreStats
from restead.domain.run import Told
from restead.domain.states import Event
from restead.ports import Volumes
from restead.records import Transaction, backups, restores
from restead.repository import Count, Progress, Repository
from restead.workflows.meter import Meter, Reading
from restead.workflows.story import DurableRun
from restead.workflows.target import WatchedTarget

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been done to the disks so far, in bytes."""

    kept: int = 0  # was right already
    written: int = 0
    zeroed: int = 0
    fetched: int = 0
    verified: int = 0

    def plus(self, count: Count, verified: int = 0) -> "Tally":
        """Return this with one more disk's numbers; *verified*: how many bytes of it were proven."""
        return Tally(
            self.kept + count.kept,
            self.written + count.written,
            self.zeroed + count.zero,
            self.fetched + count.read,
            self.verified + verified,
        )


class DiskRestorer:
    """Overwrites the disks of one restore, one after the other, and keeps its rows true."""

    def __init__(
        self, run: DurableRun, restore: Restore, plan: RestorePlan, repository: Repository, volumes: Volumes
    ) -> None:
        self.tally = Tally()
        self._run = run
        self._id = restore.id
        self._total = restore.stats.total
        self._plan = plan
        self._repository = repository
        self._volumes = volumes
        self._now = Tally()  # with the disk that is being written
        self._meter = Meter([volume.target.size for volume in plan.volumes], self._told)

    @property
    def bytes_per_second(self) -> int:
        return self._meter.reading().bytes_per_second

    def end_earlier_sessions(self) -> None:
        """End what an earlier life left open, so that it holds nothing in the repository for ever."""
        for session in self._repository.sessions(self._run.claim.run_id):
            self._repository.end(session.number)

    def restore(self, ordinal: int) -> Json | None:
        """Put one disk back; return None when it is flushed, proven and noted, else its failure.

        Raises:
            Unavailable: nothing is wrong with the disk; the whole of it may be tried again.
            InvalidRequest, NotFound, Damaged: nothing was written in this attempt.
        """
        volume, project_id = self._plan.volumes[ordinal], self._run.project_id
        with (
            self._repository.session(project_id, label=self._run.claim.run_id, reads=self._reads()) as session,
            self._volumes.open_target(project_id, self._plan.server.id, volume.target.id) as disk,
        ):
            _check_size(volume, disk.size)
            target = WatchedTarget(disk, check=self._run.check, first=lambda: self._move(ordinal, Event.BEGIN))
            self._run.tell(Told.WRITING, volume.target.id, size=volume.source.size)
            try:
                count = session.restore(
                    _manifest(volume),
                    target,
                    progress=lambda progress: self._progress(ordinal, progress),
                    check=self._run.check,
                )
            except ResteadError as error:
                if error.retryable and not target.failed:
                    raise  # the store did not answer: the disk itself can be written again
                return {**failure_json(error), "ranges": target.doubtful() if target.begun else []}
            if not target.begun:
                self._move(ordinal, Event.BEGIN)  # every byte was right already
        self.tally = self.tally.plus(count, volume.source.size)
        self._move(ordinal, Event.RESTORED, progress=100)
        self._run.tell(Told.PROVING, volume.target.id, verified=volume.source.size)
        return None

    def _reads(self) -> Sequence[ManifestId]:
        return [_manifest(volume) for volume in self._plan.volumes]

    def _move(self, ordinal: int, event: Event, **changes: Any) -> None:
        self._run.record(lambda tx: restores.move_volume(tx, self._id, ordinal, event, **changes))

    def _progress(self, ordinal: int, progress: Progress) -> None:
        self._now = self.tally.plus(progress.count)
        self._meter.update(ordinal, progress.done)

    def _told(self, reading: Reading) -> None:
        percent = min(reading.percent, 99)
        stats = stats_of(self._now, self._total, reading)

        def note(tx: Transaction) -> None:
            restores.progress(tx, self._id, percent, stats, self._meter.percents())
            backups.progress(tx, self._plan.backup_id, percent)

        self._run.record(note)
        if reading.moved:
            self._run.tell(Told.PROGRESS, self._id, done=reading.done, total=reading.total, percent=percent,
                           bytes_per_second=reading.bytes_per_second, seconds_left=reading.seconds_left)  # fmt: skip


def stats_of(tally: Tally, total: int, reading: Reading) -> RestoreStats:
    return RestoreStats(
        total=total,
        kept=tally.kept,
        written=tally.written,
        zeroed=tally.zeroed,
        fetched=tally.fetched,
        verified=tally.verified,
        seconds_left=reading.seconds_left,
        bytes_per_second=reading.bytes_per_second,
    )


def failure_json(error: ResteadError) -> Json:
    """Return an error as a run's journal keeps it."""
    return {"code": error.code.value, "message": error.message, "lost": getattr(error, "ranges", ())}


def _manifest(volume: PlannedVolume) -> ManifestId:
    assert volume.source.manifest is not None  # an available backup has one for each disk
    return volume.source.manifest


def _check_size(volume: PlannedVolume, size: int) -> None:
    """The disk may have changed since the restore was accepted."""
    if size < volume.source.size:
        raise InvalidRequest(
            f"disk {volume.target.id} holds {size} bytes now, disk backup {volume.source.id} needs "
            f"{volume.source.size}",
            code=Code.TARGET_TOO_SMALL,
        )
