"""Sessions that nobody needs any more: an open one keeps what it reads from ever being collected."""

import structlog

from restead.domain.errors import ResteadError
from restead.domain.ids import RunId
from restead.records import Records, RecordsUnavailable, runs
from restead.repository import Repository

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
    except RecordsUnavailable:
        raise
    except ResteadError as error:
        log.warning("sessions stay open for now", reason=error.message, detail=error.detail)


def drop_sessions(repository: Repository, run_id: RunId) -> None:
    """Undo all that earlier lives of a run, or earlier tries of this one, have done in the repository.

    Only while no row tells of what they have committed.
    """
    for session in repository.sessions(run_id):
        repository.end(session.number, unpin=True)
        if session.manifests:
            repository.delete(session.manifests)


def _is_done(records: Records, label: str) -> bool:
    with records.read() as tx:
        return runs.is_done(tx, RunId(label))
