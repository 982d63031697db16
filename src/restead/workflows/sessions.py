"""Sessions that nobody needs any more: an open one keeps what it reads from ever being collected."""

import structlog

from restead.domain.backup import Backup
from restead.domain.errors import Damaged, ResteadError
from restead.domain.ids import RunId, same_id
from restead.records import Records, RecordsUnavailable, runs
from restead.repository import Phase, Repository

log = structlog.get_logger()


def end_dead_sessions(records: Records, repository: Repository, run_id: RunId) -> None:
    """End what this run left open, and what earlier runs did that are done.

    Called by a run that has nothing left to do in the repository.  A session is left open when the store does not
    answer at the wrong moment; if it does not answer now either, the next run that comes by ends both.
    """
    try:
        for session in list(repository.log.refresh().sessions.values()):
            if (session.open or session.pins) and (session.label == run_id or _is_done(records, session.label)):
                repository.end(session.number, unpin=True)
                log.info("session of a run that is over was still there", session=session.number, label=session.label)
        labels = {entry.session_label for entry in repository.log.refresh().partial.values()}
        for label in labels:
            if label == run_id or _is_done(records, label):
                repository.delete(repository.partial(label))
    except RecordsUnavailable:
        raise
    except ResteadError as error:
        log.warning("sessions stay open for now", reason=error.message, detail=error.detail)


def drop_sessions(repository: Repository, run_id: RunId) -> None:
    """Undo all that earlier lives of a run, or earlier tries of this one, have done in the repository.

    Only while no row tells of what they have committed.

    Raises:
        Damaged: one of them has come to its end, so the rows were put back to an earlier moment.  To begin anew would
            overwrite what has been written to the disks since.
    """
    found = repository.sessions(run_id)
    for session in found:
        if session.phase is Phase.ENDED and session.manifests:
            raise Damaged(
                f"the records are older than the repository: run {run_id} has come to its end in session "
                f"{session.number} of the log, and is not begun anew"
            )
    for session in found:
        if session.manifests:  # before its end: see above
            repository.delete(session.manifests)
        repository.end(session.number, unpin=True)


def require_own(repository: Repository, backup: Backup) -> None:
    """Return if the manifests that this backup's rows name are its own.

    A number of the log is given once in one history.  Where an older repository was put in place, and went on, the
    same number is another's manifest: of another disk, or of another moment.

    Raises:
        Damaged: one of them is another's.
    """
    there = {entry.id: entry for entry in repository.manifests(backup.project_id)}
    for volume in backup.volumes:
        entry = None if volume.manifest is None else there.get(volume.manifest)
        if entry is None:
            continue  # whoever opens it is told that there is none
        if entry.session_label != backup.run_id or not same_id(entry.label, volume.volume_id):
            raise Damaged(
                f"manifest {entry.id} of the repository is of disk {entry.label} and run {entry.session_label}, disk "
                f"backup {volume.id} is of disk {volume.volume_id} and run {backup.run_id}: an older repository was "
                "put in this one's place"
            )


def _is_done(records: Records, label: str) -> bool:
    with records.read() as tx:
        return runs.is_done(tx, RunId(label))
