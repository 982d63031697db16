"""The transactions that decide a restore: what became of each disk, of the server, of the backup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from restead.domain.backup import Backup, Failure
from restead.domain.errors import Code
from restead.domain.restore import Restore, RestorePlan, RestoreStats, VolumeRestore
from restead.domain.states import Event, RestorePhase, VolumeOutcome
from restead.domain.wording import count_of
from restead.records import Transaction, backups, restores

Json = dict[str, Any]
Ranges = Sequence[tuple[int, int]]
_MOST_NAMED = 10  # ranges that a sentence names
_MOST_TOLD = 1000  # ranges of a disk that an event carries; the restore's row has them all
_FORWARD = (RestorePhase.WRITING, RestorePhase.PROVING)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a restore is given up."""

    failure: Failure
    ordinal: int | None = None  # the disk it began with, None: none of them


def trouble(failed: Json, ordinal: int | None, plan: RestorePlan) -> Trouble:
    """Return what a step of a restore failed with, with the byte ranges it is about, for people."""
    message = str(failed["message"])
    if ordinal is not None:
        volume = plan.volumes[ordinal]
        if failed.get("lost"):
            lost = _named(failed["lost"])
            source = f"{volume.source.volume_name} ({volume.source.id})"
            message = f"bytes {lost} of disk backup {source} are damaged in the repository: {message}"
        elif failed.get("where"):
            message = f"bytes {_named(failed['where'])} of disk {_disk(plan, ordinal)}: {message}"
    return Trouble(Failure(Code(failed["code"]), message), ordinal)


def _named(ranges: Ranges) -> str:
    named = ", ".join(f"{offset} to {offset + length}" for offset, length in ranges[:_MOST_NAMED])
    return named + (f" and {count_of(len(ranges) - _MOST_NAMED, 'more range')}" if len(ranges) > _MOST_NAMED else "")


def settle_restored(tx: Transaction, restore: Restore, stats: RestoreStats) -> None:
    """All disks hold the backup, flushed and proven."""
    for ordinal, volume in enumerate(restores.restore(tx, restore.project_id, restore.id).volumes):
        if volume.outcome is VolumeOutcome.WAITING:  # all of it was right: nothing was ever written to it
            restores.move_volume(tx, restore.id, ordinal, Event.BEGIN)
        _restored(tx, restore, ordinal, volume)
    restores.advance(tx, restore.id, Event.SETTLE, stats=stats, progress=100)


def _restored(tx: Transaction, restore: Restore, ordinal: int, volume: VolumeRestore) -> None:
    """A disk holds the backup; what of it was lost is zero and said so, not only counted."""
    reason = ""
    if volume.lost:
        size = sum(length for _, length in volume.lost)
        reason = (
            f"{size} bytes of disk backup {volume.volume_backup_id} were lost in the repository and are zero on the "
            f"disk now: bytes {_named(volume.lost)}"
        )
    restores.move_volume(
        tx, restore.id, ordinal, Event.RESTORED, progress=100, ranges=volume.lost, reason=reason
    )


def settle_unsafe(
    tx: Transaction, restore: Restore, plan: RestorePlan, why: Trouble, doubtful: Mapping[int, Ranges]
) -> None:
    """Nothing was kept of what the disks held: these are in doubt, others hold the backup or were left alone."""
    for ordinal, volume in enumerate(restores.restore(tx, restore.project_id, restore.id).volumes):
        reason = _reason(plan, why, ordinal)
        if volume.outcome is VolumeOutcome.WAITING:
            restores.move_volume(tx, restore.id, ordinal, Event.LEFT_ALONE, reason=reason)
        elif doubtful.get(ordinal):
            ranges = tuple(doubtful[ordinal])
            restores.move_volume(tx, restore.id, ordinal, Event.FAILED, reason=reason, ranges=ranges)
        else:
            _restored(tx, restore, ordinal, volume)
    restores.advance(tx, restore.id, Event.SETTLE, failure=why.failure)


def turn_back(tx: Transaction, restore: Restore, why: Trouble, stats: RestoreStats) -> None:
    """From here on nothing is written but what stood there before."""
    restores.advance(tx, restore.id, Event.PUT_BACK, failure=why.failure, stats=stats)
    if why.ordinal is not None:
        restores.note(tx, restore.id, why.ordinal, why.failure.message)


def settle_untouched(tx: Transaction, restore: Restore, plan: RestorePlan, why: Trouble) -> None:
    """No disk was written to."""
    for ordinal in range(len(restore.volumes)):
        restores.move_volume(tx, restore.id, ordinal, Event.LEFT_ALONE, reason=_reason(plan, why, ordinal))
    restores.advance(tx, restore.id, Event.SETTLE, failure=why.failure)


def settle_undone(
    tx: Transaction, restore: Restore, plan: RestorePlan, why: Trouble, broken: Mapping[int, tuple[str, Ranges]]
) -> None:
    """Every disk that was written to was put back, but those that are *broken*: why, and what is doubtful on them."""
    for ordinal, volume in enumerate(restores.restore(tx, restore.project_id, restore.id).volumes):
        reason = volume.reason or _reason(plan, why, ordinal)
        if volume.outcome is VolumeOutcome.WAITING:
            restores.move_volume(tx, restore.id, ordinal, Event.LEFT_ALONE, reason=reason)
        elif ordinal in broken:
            message, ranges = broken[ordinal]
            reason = f"{reason}; {message}" if message else reason
            restores.move_volume(tx, restore.id, ordinal, Event.FAILED, reason=reason, ranges=tuple(ranges))
        else:
            reason = f"{reason}; put back to what it held before"
            restores.move_volume(tx, restore.id, ordinal, Event.PUT_BACK, reason=reason, progress=100)
    restores.advance(tx, restore.id, Event.SETTLE, failure=why.failure)


def settle_failed(tx: Transaction, restore: Restore, failure: Failure) -> None:
    """Something failed that nobody foresaw: turn back, or, where that is not possible, say what is doubtful."""
    plan, why = restores.plan(tx, restore.id), Trouble(failure)
    if restore.phase in _FORWARD and restore.session is not None:
        turn_back(tx, restore, why, restore.stats)
        return
    volumes = restore.volumes
    broken = {at: ("", [(0, volume.target_size)]) for at, volume in enumerate(volumes)
              if volume.outcome is not VolumeOutcome.WAITING}  # fmt: skip
    settle_undone(tx, restore, plan, Trouble(restore.failure or failure), broken)


def end_restore(tx: Transaction, *, restore: Restore, plan: RestorePlan, server: Json | None) -> Mapping[str, object]:
    """Write how a restore ended, whose disks are settled; return the numbers of its last event.

    *server*: why the server has not the power state it should, None if it has.
    """
    reason = None if server is None else Failure(Code(server["code"]), server["message"])
    failure = restore.failure or reason
    event = Event.RESTORED if failure is None else Event.FAILED
    ended = restores.move(tx, restore.id, event, lambda row: _ended(tx, row, reason, failure))
    backups.move(tx, plan.backup_id, event, lambda row: _released(row, failure))
    stats = ended.stats
    lost = {each.volume_id: each.ranges for each in ended.volumes if each.outcome is VolumeOutcome.RESTORED}
    return {
        "lost": sum(length for ranges in lost.values() for _, length in ranges),
        "lost_ranges": {id: [list(each) for each in ranges[:_MOST_TOLD]] for id, ranges in lost.items() if ranges},
        "status": ended.state.value,
        **{name: getattr(stats, name) for name in ("kept", "fetched", "written", "zeroed", "saved", "verified")},
        "bytes_per_second": stats.bytes_per_second,
        "seconds": round((tx.now - ended.created_at).total_seconds(), 3),
    }


def _ended(tx: Transaction, row: Restore, server: Failure | None, failure: Failure | None) -> Restore:
    return replace(
        row,
        finished_at=tx.now,
        server_reason="" if server is None else server.message,
        failure=failure,
        stats=replace(row.stats, seconds_left=None),
    )


def _released(row: Backup, failure: Failure | None) -> Backup:
    return replace(row, progress=100, failed_operation="" if failure is None else "restore", failure=failure)


def _reason(plan: RestorePlan, why: Trouble, ordinal: int) -> str:
    if why.ordinal in (None, ordinal):
        return why.failure.message
    return f"not restored, because disk {_disk(plan, why.ordinal or 0)} failed"


def _disk(plan: RestorePlan, ordinal: int) -> str:
    """Return what people call a target disk."""
    target = plan.volumes[ordinal].target
    return f"{plan.server.name} {target.name} ({target.id})"
