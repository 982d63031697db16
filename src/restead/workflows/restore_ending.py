"""The last transaction of a restore: what became of each disk, of the server, of the backup."""

from dataclasses import replace
from typing import Any

from restead.domain.backup import Backup, Failure
from restead.domain.errors import Code
from restead.domain.restore import Restore, RestorePlan
from restead.domain.states import Event, VolumeOutcome
from restead.records import Transaction, backups, restores

Json = dict[str, Any]
_MOST_NAMED = 10  # ranges that a sentence names


def end_restore(tx: Transaction, *, restore: Restore, plan: RestorePlan, result: Json, server: Json | None) -> None:
    """Write how a restore ended.

    *result*: what its disks came to (`failure`, None if none failed; `tally`).  *server*: why the server has not
    the power state it should, None if it has.
    """
    failed = result["failure"]
    if failed is not None:
        failed = {**failed, "message": _for_people(failed, plan)}
        _end_volumes(tx, restore, plan, failed)
    reason = failed or server
    failure = None if reason is None else Failure(Code(reason["code"]), reason["message"])
    event = Event.RESTORED if failure is None else Event.FAILED
    restores.move(tx, restore.id, event, lambda row: _ended(tx, row, result, server, failure))
    backups.move(tx, plan.backup_id, event, lambda row: _released(row, failure))


def _ended(tx: Transaction, row: Restore, result: Json, server: Json | None, failure: Failure | None) -> Restore:
    tally = result["tally"]
    stats = replace(row.stats, seconds_left=None)
    if tally is not None:
        stats = replace(stats, **tally, bytes_per_second=result["bytes_per_second"])
    return replace(
        row,
        finished_at=tx.now,
        progress=100 if result["failure"] is None else row.progress,
        server_reason="" if server is None else server["message"],
        failure=failure,
        stats=stats,
    )


def _released(row: Backup, failure: Failure | None) -> Backup:
    return replace(row, progress=100, failed_operation="" if failure is None else "restore", failure=failure)


def _end_volumes(tx: Transaction, restore: Restore, plan: RestorePlan, failed: Json) -> None:
    """Give each disk that was not restored its last outcome."""
    culprit = failed.get("ordinal")
    for ordinal, volume in enumerate(restores.restore(tx, restore.project_id, restore.id).volumes):
        if volume.outcome is VolumeOutcome.RESTORED:
            continue
        untouched = volume.outcome is VolumeOutcome.WAITING
        if ordinal == culprit or culprit is None:
            reason = failed["message"]
        else:
            reason = f"not restored, because disk {plan.volumes[culprit].target.id} failed"
        # What an earlier attempt has left is not known range by range: then all of the disk is doubtful.
        ranges = failed.get("ranges") if ordinal == culprit else None
        restores.move_volume(
            tx,
            restore.id,
            ordinal,
            Event.LEFT_ALONE if untouched else Event.FAILED,
            reason=reason,
            ranges=() if untouched else tuple(tuple(r) for r in ranges or [(0, volume.target_size)]),
        )


def _for_people(failed: Json, plan: RestorePlan) -> str:
    """Return the failure's message, with the byte ranges of the backup that are lost."""
    lost, ordinal = failed.get("lost"), failed.get("ordinal")
    if not lost or ordinal is None:
        return str(failed["message"])
    named = ", ".join(f"{offset} to {offset + length}" for offset, length in lost[:_MOST_NAMED])
    more = f" and {len(lost) - _MOST_NAMED} more ranges" if len(lost) > _MOST_NAMED else ""
    backup = plan.volumes[ordinal].source.id
    return f"bytes {named}{more} of disk backup {backup} are damaged in the repository: {failed['message']}"
