"""One life of a restore: from the phase that an earlier one has reached to disks that are decided."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import structlog

from restead.domain.backup import Failure
from restead.domain.errors import Code, Damaged, NotFound, ResteadError
from restead.domain.restore import Restore, RestorePlan
from restead.domain.run import Told
from restead.domain.states import Event, RestorePhase, VolumeOutcome
from restead.ports import Volumes
from restead.records import Records, RecordsUnavailable, Transaction, backups, restores
from restead.repository import Reads, Repository, Session, Survey
from restead.workflows.restore_crew import Crew
from restead.workflows.restore_disks import Disk, Surroundings, failure_json
from restead.workflows.restore_ending import (
    Ranges,
    Trouble,
    settle_restored,
    settle_undone,
    settle_unsafe,
    settle_untouched,
    trouble,
    turn_back,
)
from restead.workflows.restore_progress import Reading, RestoreProgress
from restead.workflows.restore_safety import add_safety_checkpoint
from restead.workflows.restore_tidying import tidy
from restead.workflows.restore_watch import Watch
from restead.workflows.sessions import drop_sessions, require_own
from restead.workflows.story import DurableRun
from restead.workflows.together import GivenUp, together

log = structlog.get_logger()

_ROUNDS = 3  # of tries to put a disk back: nobody else can do it later
_CANCELLED = Failure(Code.INTERNAL, "cancelled")
_WRITING = (RestorePhase.WRITING, RestorePhase.PROVING)


class Life:
    """Everything that one life of a restore does to disks."""

    def __init__(
        self,
        records: Records,
        repository: Repository,
        volumes: Volumes,
        watch: Watch,
        run: DurableRun,
        restore: Restore,
        plan: RestorePlan,
    ) -> None:
        self._records = records
        self._repository = repository
        self._run = run
        self._restore = restore
        self._plan = plan
        self._phase = restore.phase
        self._session = restore.session
        self._watch = watch
        sizes = [volume.target.size for volume in plan.volumes]
        self._progress = RestoreProgress(sizes, restore.stats, self._told, readback=restore.request.readback)
        around = Surroundings(records, run, restore, plan, repository, volumes, self._watch, self._progress)
        self._disks = [Disk(around, ordinal) for ordinal in range(len(plan.volumes))]
        self._reads: Reads | None = None
        self._crew = Crew(self._disks, watch, run, plan)
        self._percent_shown = restore.progress

    def settle(self, stop: Callable[[], None]) -> None:
        """Return when it is durable what has become of every disk.  *stop* stops the server.

        Raises:
            Unavailable: putting back cannot begin now.
        """
        held = ExitStack()
        try:
            if self._phase is RestorePhase.PUTTING_BACK:
                self._go_on_putting_back(stop, held)
            elif (why := self._forward(stop, held)) is not None:
                self._give_up(why, held)
        finally:
            self._close(held)

    # ------------------------------------------------------------------ forward

    def _forward(self, stop: Callable[[], None], held: ExitStack) -> Trouble | None:
        """Make all disks hold the backup; return why that was given up, None if it was not."""
        try:
            self._stop(stop)
            if self._phase in _WRITING and self._session is not None:
                self._once("rejoin", lambda: self._rejoin(held))
            else:
                self._once("prepare", lambda: self._prepare(held))
            why = self._write() or self._prove()
            if why is None:
                self._succeed()
            return why
        except GivenUp:
            return Trouble(_CANCELLED)
        except RecordsUnavailable:
            raise  # nothing failed that anybody could note
        except ResteadError as error:
            return trouble(failure_json(error), self._crew.culprit, self._plan)

    def _stop(self, stop: Callable[[], None]) -> None:
        self._watch.check()
        if self._phase not in _WRITING:
            self._advance(Event.STOP)
        stop()
        self._watch.check()

    def _prepare(self, held: ExitStack) -> None:
        """Compare all disks, save what will be overwritten, and make sure that all of it can be done.

        Nothing is written to a disk; done anew as a whole when a part of it was Unavailable.
        """
        try:
            self._prepare_with(held, hints=True)
        except (Damaged, NotFound) as error:
            if not any(disk.hint for disk in self._disks):
                raise
            # What would only have saved reading may be damaged or deleted, and is no reason to fail.
            log.warning("all of the disks is read", reason=error.message)
            self._prepare_with(held, hints=False)

    def _prepare_with(self, held: ExitStack, *, hints: bool) -> None:
        self._close(held)
        self._crew.culprit = None
        if self._phase not in _WRITING:
            drop_sessions(self._repository, self._run.claim.run_id)
            self._advance(Event.COMPARE)
        with self._records.read() as tx:
            backup = backups.backup(tx, self._run.project_id, self._plan.backup_id)
        require_own(self._repository, backup)
        self._run.tell(Told.COMPARING, self._restore.id, disks=len(self._disks))
        self._crew.open(held)
        self._find_hints(hints=hints)
        reads = [disk.wanted for disk in self._disks] + [disk.hint.manifest for disk in self._disks if disk.hint]
        session = held.enter_context(
            self._repository.session(
                self._run.project_id, label=self._run.claim.run_id, reads=list(dict.fromkeys(reads))
            )
        )
        self._compare(session)
        if any(disk.lost for disk in self._disks) and self._restore.request.safety:
            # The safety copy may count on what is lost as well: now that it is known, it is stored again.
            self._crew.all(lambda disk, gate: disk.check_kept(session, gate))
            self._compare(session)
        self._crew.all(lambda disk, gate: disk.reserve(session, gate))
        self._commit(session)
        self._reads = session

    def _compare(self, session: Session) -> None:
        self._crew.all(lambda disk, gate: disk.compare(session, gate))
        if self._must_check():
            self._crew.all(lambda disk, gate: disk.check_wanted(session, gate))

    def _must_check(self) -> bool:
        """Whether all that is wanted is fetched before anything is written.

        Over disks of zeroes a failure later costs nothing but zeroes; what is to be given up is decided before.
        """
        surveys = self._surveys()
        return self._restore.request.salvage or not all(survey.blank and not survey.gone for survey in surveys)

    def _note_disks(self, tx: Transaction) -> None:
        """Note what every later life must know of the disks: what of them is given up, and which they are."""
        for disk in self._disks:
            restores.give_up(tx, self._restore.id, disk.ordinal, disk.lost)
            restores.identify(tx, self._restore.id, disk.ordinal, disk.identity)

    def _find_hints(self, *, hints: bool) -> None:
        there = {entry.id: entry for entry in self._repository.manifests(self._run.project_id)} if hints else {}
        for disk in self._disks:
            disk.find_hint(there)

    def _commit(self, session: Session) -> None:
        if not self._restore.request.safety:
            self._advance(Event.WRITE, also=self._note_disks)
            return
        self._advance(Event.SAVE, session=session.number)
        surveys = self._surveys()
        manifests = session.commit(surveys, pins=[disk.wanted for disk in self._disks])
        for disk, manifest in zip(self._disks, manifests, strict=True):
            disk.before = manifest

        def note(tx: Transaction) -> None:
            kept = add_safety_checkpoint(tx, self._restore, self._plan, surveys, manifests)
            stats = self._progress.reading().stats
            self._note_disks(tx)
            restores.advance(tx, self._restore.id, Event.WRITE, safety_checkpoint_id=kept, stats=stats)

        try:
            self._run.record(note)
        except BaseException:
            # Perhaps it was written, perhaps not: whoever goes on must find the session as after a crash.
            session.leave_open()
            raise
        self._phase, self._session = RestorePhase.WRITING, session.number

    def _rejoin(self, held: ExitStack) -> None:
        """Go on where an earlier life was: it has compared and saved."""
        self._close(held)
        self._advance(Event.WRITE)
        self._crew.open(held)
        self._reads = self._earlier()
        for disk in self._disks:
            self._progress.taken_up(disk.ordinal)

    def _earlier(self) -> Reads:
        """Return what an earlier life has saved, and what it wants."""
        assert self._session is not None, "nothing was saved"
        checkpoint_id = self._restore.safety_checkpoint_id
        with self._records.read() as tx:
            assert checkpoint_id is not None, "nothing was saved"
            kept = backups.of_checkpoint(tx, checkpoint_id)[0]
        for disk, volume in zip(self._disks, kept.volumes, strict=True):
            disk.before = volume.manifest
        return self._repository.rejoin(self._session)

    def _write(self) -> Trouble | None:
        self._watch.check()
        self._run.tell(Told.WRITING, self._restore.id, size=sum(volume.size for volume in self._restore.volumes))
        return self._crew.steps("write", lambda disk, gate: disk.write(self._reading, gate))

    def _prove(self) -> Trouble | None:
        self._advance(Event.PROVE)
        self._run.tell(Told.PROVING, self._restore.id, readback=self._restore.request.readback)
        return self._crew.steps("prove", lambda disk, gate: disk.prove(self._reading, gate))

    def _succeed(self) -> None:
        self._watch.check()
        total = sum(disk.target.size for disk in self._disks)
        stats = self._progress.reading().stats
        lost = sum(length for disk in self._disks for _, length in disk.lost)
        proven = sum(volume.size for volume in self._restore.volumes) - lost
        stats = replace(stats, kept=max(0, total - stats.written - stats.zeroed), verified=proven)

        def note(tx: Transaction) -> None:
            if restores.wishes(tx, self._restore.id)[0]:
                raise GivenUp("cancelled at the last moment")
            settle_restored(tx, self._restore, stats)

        self._run.record(note)
        self._phase = RestorePhase.STARTING
        tidy(self._disks, self._row(), self._reading, self._run)

    # ------------------------------------------------------------------ back

    def _give_up(self, why: Trouble, held: ExitStack) -> None:
        """Put back every disk that was written to, if it is known what it held; make durable what became of each."""
        begun = self._begun(self._row())
        if not begun:
            self._run.record(lambda tx: settle_untouched(tx, self._restore, self._plan, why))
            self._after_untouched()
        elif self._session is None:
            doubtful = {disk.ordinal: disk.doubtful() for disk in begun}
            self._run.record(lambda tx: settle_unsafe(tx, self._restore, self._plan, why, doubtful))
        else:
            stats = self._progress.reading().stats
            self._run.record(lambda tx: turn_back(tx, self._restore, why, stats))
            self._put_back(begun, why, held)

    def _go_on_putting_back(self, stop: Callable[[], None], held: ExitStack) -> None:
        """As an earlier life has begun to; all of it anew."""
        stop()
        failure = self._restore.failure
        assert failure is not None, "a restore is put back for no reason"
        self._put_back(self._begun(self._restore), Trouble(failure), held)

    def _begun(self, restore: Restore) -> list[Disk]:
        """Return the disks that may have been written to."""
        volumes = restore.volumes
        return [disk for disk in self._disks if volumes[disk.ordinal].outcome is not VolumeOutcome.WAITING]

    def _put_back(self, begun: Sequence[Disk], why: Trouble, held: ExitStack) -> None:
        self._phase = RestorePhase.PUTTING_BACK
        self._run.tell(Told.PUTTING_BACK, self._restore.id, disks=len(begun), reason=why.failure.message)
        broken = self._put_each_back(begun, held)
        self._run.record(lambda tx: settle_undone(tx, self._restore, self._plan, why, broken))
        self._phase = RestorePhase.STARTING
        tidy(self._disks, self._row(), self._reading, self._run)

    def tidy_again(self) -> None:
        """Do what an earlier life may not have come to once its disks were decided.  What fails is left undone."""
        if self._session is None:
            return  # what it took to know is gone with that life
        with ExitStack() as held:
            try:
                self._reads = self._earlier()
                self._crew.open(held)
            except RecordsUnavailable:
                raise
            except ResteadError as error:
                log.info("a restore that is decided is not tidied up again", reason=error.message)
            else:
                tidy(self._disks, self._row(), self._reads, None)

    def _put_each_back(self, begun: Sequence[Disk], held: ExitStack) -> dict[int, tuple[str, Ranges]]:
        """Put these disks back, each as well as it can be; return for those that could not what is wrong."""
        self._progress.putting_back([disk.ordinal for disk in begun])
        if self._reads is None:
            self._reads = self._earlier()
            for disk in self._disks:
                held.callback(disk.close)
        outcomes = together([partial(self._put_one_back, disk) for disk in begun])
        broken: dict[int, tuple[str, Ranges]] = {}
        for disk, outcome in zip(begun, outcomes, strict=True):
            if isinstance(outcome, RecordsUnavailable) or not isinstance(outcome, ResteadError | None):
                raise outcome
            if outcome is not None:
                broken[disk.ordinal] = f"it could not be put back: {outcome.message}", disk.doubtful()
        return broken

    def _put_one_back(self, disk: Disk) -> None:
        life = self._run.claim.number
        for number in range(_ROUNDS):
            try:
                self._run.step(f"{life}/back/{disk.ordinal}/{number}", lambda: disk.put_back(self._reading))
                return
            except RecordsUnavailable:
                raise
            except ResteadError as error:
                if number == _ROUNDS - 1 or not error.retryable:
                    raise

    def _after_untouched(self) -> None:
        """Forget what was stored for an undo that nobody needs.  If a row tells of it, it stays until it expires."""
        if self._session is None:
            try:
                drop_sessions(self._repository, self._run.claim.run_id)
            except ResteadError as error:
                log.warning("what a restore has saved stays for now", reason=error.message)

    # ------------------------------------------------------------------ rows

    @property
    def _reading(self) -> Reads:
        assert self._reads is not None, "a disk is written before anything is open"
        return self._reads

    def _surveys(self) -> list[Survey]:
        return [disk.survey for disk in self._disks if disk.survey is not None]

    def _row(self) -> Restore:
        with self._records.read() as tx:
            return restores.restore(tx, self._restore.project_id, self._restore.id)

    def _advance(
        self, event: Event, *, also: Callable[[Transaction], None] = lambda _: None, **changes: object
    ) -> None:
        def note(tx: Transaction) -> None:
            also(tx)
            self._phase = restores.advance(tx, self._restore.id, event, **changes).phase

        self._run.record(note)

    def _once(self, name: str, do: Callable[[], None]) -> None:
        """Do something in this life, again while it is Unavailable and may be tried."""
        self._run.step(f"{self._run.claim.number}/{name}", do)

    def _told(self, reading: Reading) -> None:
        back = self._phase is RestorePhase.PUTTING_BACK
        id, percent = self._restore.id, reading.percent

        def note(tx: Transaction) -> None:
            shown = self._percent_shown if back else percent
            restores.progress(tx, id, shown, reading.stats, reading.percents)
            backups.progress(tx, self._plan.backup_id, shown)

        if not back:
            self._percent_shown = percent
        self._run.record(note)
        if reading.moved:
            self._run.tell(
                Told.PROGRESS, id, done=reading.done, total=reading.total, percent=percent,
                bytes_per_second=reading.stats.bytes_per_second, seconds_left=reading.stats.seconds_left,
                disks=list(reading.percents),
            )  # fmt: skip

    def _close(self, held: ExitStack) -> None:
        """Close disks and session.  What fails in this changes nothing that is written in rows."""
        try:
            held.close()
        except ResteadError as error:
            log.warning("something did not close", reason=error.message, detail=error.detail)
