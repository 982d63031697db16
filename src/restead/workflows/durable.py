"""The durable engine: runs stand in rows, threads take them up, and every one of them comes to an end.

A run is promised by the transaction that inserts its row.  A thread claims it, which gives it a lease with a new
number; the thread tells its story, whose finished steps are journalled under that number; the story's ending and
the run's end are one transaction.  A crash at any point leaves a row that is not done: the next start takes it up
again, and finished steps are not told twice.  So a run ends as success, as failure with a reason, or is still to
be taken up; it is never open for ever.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog

from restead.domain.backup import Failure
from restead.domain.errors import Code, ResteadError
from restead.domain.figures import Ended
from restead.domain.ids import RunId
from restead.domain.run import Claim, RunKind, Told
from restead.records import (
    LeaseLost,
    Records,
    RecordsUnavailable,
    RunLimits,
    events,
    figures,
    operations,
    remembered,
    runs,
)
from restead.workflows.regular import Chore, Regular, Trouble
from restead.workflows.run import Interrupted, LeasedRun
from restead.workflows.story import Ending, Story, TidiesUp

log = structlog.get_logger()

Watch = Callable[[Ended], None]
"""Is told of each run that has ended, once that is durable."""

_DEATHS = 50  # a run that died this often without an end kills its process: it is ended, not taken up again
_LOOK_AGAIN = 5.0  # seconds after which an idle thread looks at the rows although nobody called


class Engine:
    """Runs what the rows promise, on threads of this process."""

    def __init__(
        self,
        records: Records,
        stories: Mapping[RunKind, Story],
        *,
        workers: int = 4,
        lease: timedelta = timedelta(seconds=60),
        pauses: Sequence[float] = (1.0, 5.0, 20.0),
        limits: RunLimits = RunLimits(),
        watch: Watch = lambda _: None,
    ) -> None:
        """*pauses*: seconds to wait before each new try of a step that was Unavailable."""
        self._limits = limits
        self._watch = watch
        self._records = records
        self._stories = stories
        self._workers = workers
        self._lease = lease
        self._pauses = pauses
        self._owner = f"{os.uname().nodename}/{os.getpid()}"
        self._stopping = threading.Event()
        self._waiting = threading.Condition()
        self._calls = 0  # grows with each submit
        self._active: set[LeasedRun] = set()
        self._left: set[LeasedRun] = set()  # whose rows could not be written: ours still, and nobody works on them
        self._threads: list[threading.Thread] = []
        self._chores: list[Regular] = []
        self._away = Trouble("the records are away", "the records are back")
        self._stuck = Trouble("no run could be claimed or ended", "runs are claimed again")

    @property
    def running(self) -> bool:
        """Whether it has threads of its own."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def works(self) -> bool:
        """Whether runs are begun: it was started, nobody has stopped it, and all its threads for them live."""
        crew = self._threads[: self._workers]
        return bool(crew) and not self._stopping.is_set() and all(thread.is_alive() for thread in crew)

    def take_up(self) -> int:
        """Free the runs of a process that is gone; tell how many."""
        with self._records.begin() as tx:
            return runs.release_all(tx)

    def do_regularly(self, chore: Chore, every: timedelta = timedelta(hours=1), name: str = "") -> None:
        """Have *chore* done at the start and again and again, on a thread of its own; call before `start`.

        One whose failure may pass is tried again sooner.  *name*: by which `warnings` tells of it.
        """
        self._chores.append(Regular(chore, every, name))

    def warnings(self) -> Sequence[str]:
        """Return what an operator should know of the chores that have a name."""
        return [said for each in self._chores if (said := each.warning)]

    def do_chores(self) -> None:
        """Do now what is to be done regularly, here.  One that fails is done again the next time."""
        for each in self._chores:
            self._do_chore(each)

    def start(self) -> None:
        """Take up what a dead process left, and start the threads; whatever waits in the rows begins at once.

        Only for the one owner of a data folder: every other owner is believed dead.
        """
        self.take_up()
        targets = [(f"run-{number}", self._work) for number in range(self._workers)]
        targets += [(f"chore-{number}", partial(self._repeat, each)) for number, each in enumerate(self._chores)]
        for name, target in [*targets, ("leases", self._keep_leases)]:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, run_id: RunId) -> None:
        """Say that a run waits.  A call that is lost does no harm: the rows are looked at anyway."""
        log.debug("run waits", run=run_id)
        with self._waiting:
            self._calls += 1
            self._waiting.notify()

    def stop(self, within: timedelta = timedelta(seconds=30)) -> bool:
        """Let runs come to their next safe point and give them back; tell whether all did in time.

        Those that did not are daemon threads: they end with the process, and the next start takes them up.
        """
        self._stopping.set()
        with self._waiting:
            self._waiting.notify_all()
        until = time.monotonic() + within.total_seconds()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def run_next(self) -> bool:
        """Claim one run and bring it to its end, in the calling thread; False if nothing waits or we stop."""
        if self._stopping.is_set():
            return False
        for run in list(self._left):
            self._give_back_left(run)
        with self._records.begin() as tx:
            # What we work on is ours whatever the clock says: set forward, it makes every lease look over.
            ours = [run.id for run in list(self._active)]
            claim = runs.claim(tx, self._owner, self._lease, self._limits, besides=ours)
            if claim is None and self._away.lasts:
                remembered.write(tx)  # records that are read-only, or full, are found out by a write alone
        self._away.end()
        self._stuck.end()
        if claim is None:
            return False
        with structlog.contextvars.bound_contextvars(run=claim.run_id, project=claim.project_id):
            self._live(claim)
        return True

    def _work(self) -> None:
        while not self._stopping.is_set():
            called = self._calls
            try:
                if self.run_next():
                    continue
            except RecordsUnavailable as error:
                self._away.meet(error)
            except ResteadError as error:
                self._stuck.meet(error)
            except LeaseLost as error:
                log.error("a run could not be ended", reason=str(error))
            with self._waiting:
                if self._calls == called and not self._stopping.is_set():
                    self._waiting.wait(_LOOK_AGAIN)

    def _live(self, claim: Claim) -> None:
        """One life of a run.  What is no Exception (a power cut in tests) passes and leaves the rows as they are."""
        run = LeasedRun(self._records, claim, stopping=self._stopping, lease=self._lease, pauses=self._pauses)
        story = self._stories[claim.kind]
        log.info("run begins", kind=claim.kind, subject=claim.subject, life=claim.number)
        self._active.add(run)
        try:
            self._end(run, self._tell(story, run))
            self._tidy_up(run, story)
        except Interrupted:
            self._give_back(run)
        except LeaseLost as error:
            log.warning("run left to its new owner", reason=str(error))
            self._left.add(run)  # there may be none, and leases are told by a clock that may be set back
        except RecordsUnavailable as error:
            self._leave(run, error)
        except Exception as error:  # noqa: BLE001 - a workflow's outermost frame: whatever it was, the run ends
            self._fail(run, story, _failure(claim, error))
        finally:
            self._active.discard(run)

    def _leave(self, run: LeasedRun, error: RecordsUnavailable) -> None:
        """Nothing can be noted now: it is given back as soon as that is over; else its lease will have run out."""
        log.warning("run left as it is", reason=str(error))
        self._left.add(run)

    def _fail(self, run: LeasedRun, story: Story, failure: Failure) -> None:
        try:
            self._end_failed(run, story.failed(run, failure))
        except RecordsUnavailable as error:
            self._leave(run, error)

    def _tell(self, story: Story, run: LeasedRun) -> Ending:
        if run.claim.deaths >= _DEATHS:
            failure = Failure(Code.INTERNAL, f"died {_DEATHS} times and never came to an end")
            return story.failed(run, failure) or story.tell(run)
        if run.claim.number > 1:
            run.tell(Told.RESUMED, run.subject, life=run.claim.number)
        return story.tell(run)

    def _end(self, run: LeasedRun, ending: Ending) -> None:
        with self._records.begin() as tx:
            runs.finish(tx, run.claim)
            numbers = ending(tx) or {}
            operations.settled(tx, run.id)
            events.add(tx, run.id, Told.END, run.subject, **numbers)
            ended = figures.ended(tx, run.claim)
        self._watch(ended)
        log.info("run ended", **numbers)

    def _tidy_up(self, run: LeasedRun, story: Story) -> None:
        if not isinstance(story, TidiesUp):
            return
        try:
            story.afterwards(run)
        except ResteadError as error:
            log.warning("what a run would have put away stays", reason=error.message, detail=error.detail)

    def _end_failed(self, run: LeasedRun, ending: Ending | None) -> None:
        if ending is not None:
            self._end(run, ending)
        else:
            self._give_back(run)
            self.submit(run.id)

    def _give_back(self, run: LeasedRun) -> None:
        with self._records.begin() as tx:
            runs.release(tx, run.claim)
        log.info("run given back, to be taken up again")

    def _give_back_left(self, run: LeasedRun) -> None:
        with suppress(LeaseLost):
            self._give_back(run)
        self._left.discard(run)

    def _repeat(self, each: Regular) -> None:
        pause = self._do_chore(each)
        while not self._stopping.wait(pause.total_seconds()):
            pause = self._do_chore(each)

    def _do_chore(self, each: Regular) -> timedelta:
        """Do it, however that ends; return when to do it again."""
        try:
            each.chore(self._check_going)
        except RecordsUnavailable as error:  # every chore meets that: it is said once for all of them
            self._away.meet(error)
            return each.later()
        except ResteadError as error:
            return each.failed(error)
        except Interrupted:
            return each.every  # it begins anew at the next start
        except Exception:
            log.exception("a chore failed by a bug, and is left for later")  # the outermost frame of a chore
            return each.every
        return each.went_well()

    def _check_going(self) -> None:
        if self._stopping.is_set():
            raise Interrupted("a chore is interrupted: the service ends")

    def _keep_leases(self) -> None:
        while not self._stopping.wait(self._lease.total_seconds() / 4):
            for run in list(self._active):
                try:
                    run.renew()
                    self._away.end()
                except RecordsUnavailable as error:  # the run finds out by `check`, of the others too
                    self._away.meet(error)
                except (LeaseLost, ResteadError) as error:
                    log.warning("lease not renewed", run=run.id, reason=str(error))


def _failure(claim: Claim, error: Exception) -> Failure:
    if isinstance(error, ResteadError):
        log.warning("run failed", reason=error.message, detail=error.detail, code=error.code.value)
        return Failure(error.code, error.message)
    log.error("run failed by a bug", exc_info=error)
    return Failure(Code.INTERNAL, f"an internal error ended it; the log tells more under run {claim.run_id}")
