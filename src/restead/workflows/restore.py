"""The story of a restore: stop the server, put its disks back, prove them, start it if asked.

What is known of a disk stands in its row before the disk changes: WAITING means that nobody has written to it.  A
restore that is taken up after a crash writes all disks anew from the start; that is always right, since nothing of
what stands on them is needed.  When a disk fails the others stop, and the server stays stopped unless every disk
still holds what it held.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial

from restead.domain.backup import Failure
from restead.domain.errors import Code, ResteadError
from restead.domain.ids import RestoreId
from restead.domain.restore import Restore, RestorePlan
from restead.domain.run import Told
from restead.domain.states import RestoreState, VolumeOutcome
from restead.ports import Servers, Volumes
from restead.records import Records, RecordsUnavailable, Transaction, restores, runs
from restead.repository import Repository
from restead.workflows.restore_disks import DiskRestorer, Json, failure_json
from restead.workflows.restore_ending import end_restore
from restead.workflows.sessions import end_dead_sessions
from restead.workflows.story import DurableRun, Ending


class RestoreStory:
    def __init__(
        self,
        records: Records,
        repository: Repository,
        servers: Servers,
        volumes: Volumes,
        *,
        grace: timedelta = timedelta(seconds=60),
    ) -> None:
        """*grace*: how long a server is asked politely to stop before it is forced."""
        self._records = records
        self._repository = repository
        self._servers = servers
        self._volumes = volumes
        self._grace = grace

    def tell(self, run: DurableRun) -> Ending:
        restore, plan = self._rows(run)
        disks = DiskRestorer(run, restore, plan, self._repository, self._volumes)
        # Journalled as a whole: from here on no life of the run writes to a disk again, so the server may start.
        result = run.step("disks", lambda: self._restore_disks(run, plan, disks))
        server = self._power(run, plan, result)
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        return partial(end_restore, restore=restore, plan=plan, result=result, server=server)

    def failed(self, run: DurableRun, failure: Failure) -> Ending:
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        restore, plan = self._rows(run)
        if restore.state is not RestoreState.IN_PROGRESS:
            return _nothing
        reason = {"code": failure.code.value, "message": failure.message}
        with self._records.read() as tx:
            disks = runs.finished(tx, run.claim.run_id, "disks")
        if disks is not None and disks.result["failure"] is None:  # all disks are right: it failed on the server
            return partial(end_restore, restore=restore, plan=plan, result=disks.result, server=reason)
        result = {"failure": reason, "tally": None}
        return partial(end_restore, restore=restore, plan=plan, result=result, server=_stays_stopped(restore))

    def _rows(self, run: DurableRun) -> tuple[Restore, RestorePlan]:
        with self._records.read() as tx:
            restore = restores.restore(tx, run.project_id, RestoreId(run.subject))
            return restore, restores.plan(tx, restore.id)

    def _restore_disks(self, run: DurableRun, plan: RestorePlan, disks: DiskRestorer) -> Json:
        """Stop the server and put back all disks, or as many as come before the first that fails.

        Every step is this life's own: after a crash the server is stopped again, whoever started it meanwhile,
        and all disks are written again.
        """
        life = run.claim.number
        failed = _attempt(run, f"{life}/stop", lambda: self._stop(run, plan, disks))
        for ordinal in range(len(plan.volumes)):
            if failed is None:
                failed = _attempt(run, f"{life}/disk/{ordinal}", partial(disks.restore, ordinal))
                failed = failed and {"ordinal": ordinal, **failed}
        return {"failure": failed, "tally": asdict(disks.tally), "bytes_per_second": disks.bytes_per_second}

    def _stop(self, run: DurableRun, plan: RestorePlan, disks: DiskRestorer) -> None:
        disks.end_earlier_sessions()
        run.tell(Told.STOPPING, plan.server.id)
        self._servers.stop(run.project_id, plan.server.id, grace=self._grace)

    def _power(self, run: DurableRun, plan: RestorePlan, result: Json) -> Json | None:
        """Give the server the power state it is to have; return why it has another, None if it has."""
        restore, _ = self._rows(run)
        if result["failure"] is not None:
            reason = _stays_stopped(restore)
            if reason is not None or not plan.stops_server:
                return reason  # put to rest, or as it was before
        elif not plan.power_on:
            return None
        run.tell(Told.STARTING, plan.server.id)
        return _attempt(run, "start", lambda: self._servers.start(run.project_id, plan.server.id))


def _nothing(_tx: Transaction) -> None:
    """The ending of a run whose restore has ended already."""


def _stays_stopped(restore: Restore) -> Json | None:
    """Return why the server of a failed restore stays stopped, None if all its disks hold what they held."""
    touched = [volume for volume in restore.volumes if volume.outcome is not VolumeOutcome.WAITING]
    if not touched:
        return None
    return {
        "code": Code.INTERNAL.value,
        "message": f"stays stopped: the restore failed after {len(touched)} of its {len(restore.volumes)} disks "
        f"had been written to",
    }


def _attempt(run: DurableRun, name: str, do: Callable[[], Json | None]) -> Json | None:
    """Return None if the step succeeded, else its failure, after it was tried as often as it may be."""
    try:
        return run.step(name, do)
    except RecordsUnavailable:
        raise  # nothing failed that anybody could note
    except ResteadError as error:
        return failure_json(error)
