"""The story of a restore: stop the server, compare and save its disks, write what differs, prove it, start it.

All disks hold the backup in the end, or all hold what they held.  What is known stands in rows before anything
depends on it, in this order: packs, index, row `saving`, the repository's commit (which keeps what is wanted as well
as what was there), row `writing` with the safety checkpoint, writes, flush, mark, …, every disk proven, row `starting`
with what became of each, and only then the session is let go.  Row `putting_back` is durable before the first
put-back and never turns round.

Whoever takes a restore up after a crash reads its phase: before `writing` everything begins anew, for no disk has
changed; in it the disks are written from their marks on, and read again before they are believed; in `putting_back`
all that differs is put back, whatever was done before; in `starting` the disks are decided.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from restead.domain.backup import Failure
from restead.domain.errors import Code, ResteadError
from restead.domain.ids import RestoreId
from restead.domain.restore import Restore, RestorePlan
from restead.domain.run import Told
from restead.domain.states import RestorePhase, VolumeOutcome
from restead.domain.wording import count_of
from restead.ports import Servers, Volumes
from restead.records import Records, RecordsUnavailable, restores
from restead.repository import Repository
from restead.workflows.restore_disks import Json, failure_json
from restead.workflows.restore_ending import end_restore, settle_failed
from restead.workflows.restore_life import Life
from restead.workflows.restore_watch import Watch
from restead.workflows.sessions import end_dead_sessions
from restead.workflows.story import DurableRun, Ending
from restead.workflows.throttle import Throttle


class RestoreStory:
    def __init__(
        self,
        records: Records,
        repository: Repository,
        servers: Servers,
        volumes: Volumes,
        *,
        grace: timedelta = timedelta(seconds=60),
        look_every: timedelta = timedelta(seconds=0.5),
    ) -> None:
        """*grace*: how long a server is asked politely to stop before it is forced.

        *look_every*: how often it is looked whether somebody has cancelled or throttled a restore.
        """
        self._records = records
        self._repository = repository
        self._servers = servers
        self._volumes = volumes
        self._grace = grace
        self._look_every = look_every
        self._throttle = Throttle()  # of all restores of this process together

    def tell(self, run: DurableRun) -> Ending:
        restore, plan = self._rows(run)
        watch = Watch(self._records, run, restore.id, self._throttle, self._look_every)
        life = Life(self._records, self._repository, self._volumes, watch, run, restore, plan)
        if restore.phase is RestorePhase.STARTING:
            life.tidy_again()
        else:
            life.settle(partial(self._stop, run, plan))
            restore, _ = self._rows(run)
        server = self._power(run, restore, plan)
        # What the disks hold is decided: what was kept for them need not be any longer.
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        return partial(end_restore, restore=restore, plan=plan, server=server)

    def failed(self, run: DurableRun, failure: Failure) -> Ending | None:
        """Bring a restore that met a bug one phase nearer to its end; in `starting` it has come to it.

        None: it is told again, from that phase.
        """
        restore, plan = self._rows(run)
        if restore.phase is RestorePhase.STARTING:
            reason = {"code": failure.code.value, "message": failure.message}
            return partial(end_restore, restore=restore, plan=plan, server=reason)
        run.record(lambda tx: settle_failed(tx, restore, failure))
        return None

    def _rows(self, run: DurableRun) -> tuple[Restore, RestorePlan]:
        with self._records.read() as tx:
            restore = restores.restore(tx, run.project_id, RestoreId(run.subject))
            return restore, restores.plan(tx, restore.id)

    def _stop(self, run: DurableRun, plan: RestorePlan) -> None:
        """Every life stops the server: somebody may have started it meanwhile."""
        run.tell(Told.STOPPING, plan.server.id)
        stop = partial(self._servers.stop, run.project_id, plan.server.id, grace=self._grace)
        run.step(f"{run.claim.number}/stop", stop)

    def _power(self, run: DurableRun, restore: Restore, plan: RestorePlan) -> Json | None:
        """Give the server the power state it is to have; return why it has another, None if it has."""
        if unfit := _unfit(restore):
            return {"code": Code.INTERNAL.value, "message": f"stays stopped: {unfit}"}
        if not (plan.power_on if restore.failure is None else plan.stops_server):
            return None
        run.tell(Told.STARTING, plan.server.id)
        return _attempt(run, "start", lambda: self._servers.start(run.project_id, plan.server.id))


def _unfit(restore: Restore) -> str:
    """Return why the server must not run on its disks, "" if it may."""
    outcomes = [volume.outcome for volume in restore.volumes]
    total = count_of(len(outcomes), "disk")
    if damaged := outcomes.count(VolumeOutcome.DAMAGED):
        return f"on {damaged} of {total} is neither the backup nor what was there before"
    restored = outcomes.count(VolumeOutcome.RESTORED)
    if restored not in (0, len(outcomes)):  # without safety nothing could be put back
        return f"the backup is on {restored} of {total}, on the others what was there before"
    return ""


def _attempt(run: DurableRun, name: str, do: Callable[[], None]) -> Json | None:
    """Return None if the step succeeded, else its failure, after it was tried as often as it may be."""
    try:
        run.step(name, do)
    except RecordsUnavailable:
        raise  # nothing failed that anybody could note
    except ResteadError as error:
        return failure_json(error)
    return None
