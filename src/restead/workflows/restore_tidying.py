"""What is done with the disks of a restore once they are decided and before their server may start.

Nothing here changes a byte, and a restore does not fail by it.
"""

from collections.abc import Sequence

import structlog

from restead.domain.errors import ResteadError
from restead.domain.restore import Restore
from restead.domain.states import VolumeOutcome
from restead.records import RecordsUnavailable, known
from restead.repository import Reads
from restead.workflows.restore_disks import Disk
from restead.workflows.story import DurableRun

log = structlog.get_logger()


def tidy(disks: Sequence[Disk], restore: Restore, reads: Reads, noting: DurableRun | None) -> None:
    """Give back the space of what has become zero, and note what each disk holds, to spare reading it next time.

    *noting*: None in a life that has not proven the disks: since an earlier one did, anybody may have written to them.
    """
    for disk, volume in zip(disks, restore.volumes, strict=True):
        if volume.outcome not in (VolumeOutcome.RESTORED, VolumeOutcome.PUT_BACK):
            continue
        try:
            _tidy_one(disk, reads, noting, back=volume.outcome is VolumeOutcome.PUT_BACK)
        except RecordsUnavailable:
            raise
        except ResteadError as error:
            log.warning("a restored disk is not tidied up", disk=disk.id, reason=error.message)


def _tidy_one(disk: Disk, reads: Reads, noting: DurableRun | None, *, back: bool) -> None:
    disk.release(reads, back=back)
    # After the last change, which giving back space is.
    if noting is not None and (found := disk.known(reads, back=back)) is not None:
        noting.record(lambda tx: known.note(tx, noting.project_id, disk.id, found))
