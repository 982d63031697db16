"""The engine: every run comes to its end, once, whatever happens to it on the way."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from tests.fakes.power import Power, PowerCut
from tests.records.rows import Clock

from restead.domain.backup import Failure
from restead.domain.errors import Code, Damaged, Unavailable
from restead.domain.figures import Ended
from restead.domain.ids import ProjectId, RunId
from restead.domain.run import RunKind, RunState, Told
from restead.records import LeaseLost, Records, RecordsUnavailable, Transaction, events, runs
from restead.records.tables import runs as run_table
from restead.workflows import Engine
from restead.workflows.run import Interrupted
from restead.workflows.story import DurableRun, Ending


class Tale:
    """A story that a test writes; its endings note how it ended."""

    def __init__(self, do: Callable[[DurableRun], object] = lambda run: None) -> None:
        self.do = do
        self.lives: list[int] = []
        self.endings: list[tuple[str, object]] = []

    def tell(self, run: DurableRun) -> Ending:
        self.lives.append(run.claim.number)
        result = self.do(run)
        return lambda tx: self.endings.append((run.subject, result))

    def failed(self, run: DurableRun, failure: Failure) -> Ending:
        return lambda tx: self.endings.append((run.subject, failure))


class Place:
    """Records and engines over them."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.clock = Clock()
        self.records = Records.open(database, clock=self.clock)
        self.tale = Tale()
        self.engine = self.another_engine()

    def another_engine(self, lease: timedelta = timedelta(seconds=60)) -> Engine:
        told = dict.fromkeys(RunKind, self.tale)
        return Engine(self.records, told, workers=3, pauses=(0.001, 0.002), lease=lease)

    def enqueue(self, *ids: str, kind: RunKind = RunKind.BACKUP) -> None:
        with self.records.begin() as tx:
            for id in ids:
                runs.enqueue(tx, RunId(id), kind, f"subject {id}", ProjectId("p"))

    def states(self) -> dict[str, str]:
        with self.records.read() as tx:
            return {row.id: row.state for row in tx.connection.execute(run_table.select())}

    def story(self, id: str) -> list[Told]:
        with self.records.read() as tx:
            return [event.kind for event in events.story(tx, RunId(id))]


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    place = Place(database)
    yield place
    place.engine.stop(timedelta(seconds=5))
    place.records.close()


def test_a_run_and_its_ending_are_one_transaction(place: Place) -> None:
    """An ending that raises leaves the run open for the failure's ending."""

    def ending(tx: Transaction) -> None:
        events.add(tx, RunId("a"), Told.PROVING)
        raise KeyError("a bug in the ending")

    place.tale.tell = lambda run: ending  # type: ignore[method-assign]
    place.enqueue("a")
    assert place.engine.run_next()
    assert place.story("a") == [Told.END]
    ((_, failure),) = place.tale.endings
    assert isinstance(failure, Failure)
    assert place.states() == {"a": RunState.DONE}


def test_nothing_waits_means_nothing_is_done(place: Place) -> None:
    assert not place.engine.run_next()


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Damaged("pack 1f is damaged"), Failure(Code.INTERNAL, "pack 1f is damaged")),
        (Unavailable("no answer"), Failure(Code.UNAVAILABLE, "no answer")),
        (KeyError("x"), Failure(Code.INTERNAL, "an internal error ended it; the log tells more under run a")),
    ],
)
def test_whatever_a_story_raises_ends_it_as_failure(place: Place, error: Exception, failure: Failure) -> None:
    """With a reason; a bug's own words stay in the log."""

    def fail(run: DurableRun) -> None:
        raise error

    place.tale.do = fail
    place.enqueue("a")
    place.engine.run_next()
    assert place.tale.endings == [("subject a", failure)]
    assert place.states() == {"a": RunState.DONE}


def test_a_finished_step_is_not_done_again_in_a_later_life(place: Place) -> None:
    done: list[str] = []

    def story(run: DurableRun) -> object:
        first = run.step("first", lambda: done.append("first") or {"pair": (1, 2)})
        if run.claim.number == 1:
            raise PowerCut
        return first, run.step("second", lambda: done.append("second"))

    place.tale.do = story
    place.enqueue("a")
    with pytest.raises(PowerCut):
        place.engine.run_next()
    assert place.states() == {"a": RunState.RUNNING}
    assert place.engine.take_up() == 1
    place.engine.run_next()
    assert done == ["first", "second"]
    assert place.tale.endings == [("subject a", ({"pair": [1, 2]}, None))]
    assert place.story("a") == [Told.RESUMED, Told.END]


def test_a_result_is_the_same_in_every_life(place: Place) -> None:
    """Also in the first, which could have kept its tuple."""
    place.tale.do = lambda run: run.step("first", lambda: {"pair": (1, 2)})
    place.enqueue("a")
    place.engine.run_next()
    assert place.tale.endings == [("subject a", {"pair": [1, 2]})]


def test_only_what_is_unavailable_is_tried_again_and_only_a_few_times(place: Place) -> None:
    tries: list[int] = []

    def flaky(run: DurableRun, good_after: int, error: Exception) -> object:
        def do() -> int:
            tries.append(1)
            if len(tries) <= good_after:
                raise error
            return len(tries)

        tries.clear()
        return run.step("flaky", do)

    for good_after, error, expected in ((2, Unavailable("x"), 3), (9, Unavailable("x"), 3), (9, Damaged("x"), 1)):
        place.tale.do = lambda run, a=good_after, e=error: flaky(run, a, e)
        place.enqueue(f"a{good_after}{expected}")
        place.engine.run_next()
        assert len(tries) == expected
    results = [ending for _, ending in place.tale.endings]
    assert results == [3, Failure(Code.UNAVAILABLE, "x"), Failure(Code.INTERNAL, "x")]


def test_who_lost_the_lease_writes_nothing_more(place: Place) -> None:
    """A second owner takes over while the first still works; only the second's steps and ending count."""

    def story(run: DurableRun) -> object:
        if run.claim.number == 1:
            place.clock.forward(61)
            assert place.another_engine().run_next()
            with pytest.raises(LeaseLost):
                run.step("second", lambda: "old")
            with pytest.raises(LeaseLost):
                run.record(lambda tx: events.add(tx, run.claim.run_id, Told.PROVING))
            return "old"
        return run.step("first", lambda: "new")

    place.tale.do = story
    place.enqueue("a")
    assert place.engine.run_next()  # its ending is refused too, and it goes quietly
    assert place.tale.endings == [("subject a", "new")]
    assert place.story("a") == [Told.RESUMED, Told.END]


def test_a_lease_that_was_not_renewed_in_time_is_not_trusted(place: Place) -> None:
    """By this process's own clock, before anybody else may take over."""
    engine = place.another_engine(lease=timedelta(seconds=0.04))
    passed: list[bool] = []

    def story(run: DurableRun) -> None:
        run.check()
        passed.append(True)
        threading.Event().wait(0.05)
        run.check()
        passed.append(True)

    place.tale.do = story
    place.enqueue("a")
    engine.run_next()
    assert passed == [True]
    assert place.states() == {"a": RunState.RUNNING}


def test_threads_keep_the_leases_of_long_runs(place: Place) -> None:
    """A run that lasts many leases keeps its own."""
    place.clock = None  # type: ignore[assignment]
    place.engine = Engine(
        Records.open(place.database), {RunKind.BACKUP: place.tale}, lease=timedelta(seconds=0.4)
    )

    def story(run: DurableRun) -> str:
        for _ in range(30):
            threading.Event().wait(0.04)
            run.check()
        return "done"

    place.tale.do = story
    place.enqueue("a")
    place.engine.start()
    _wait(lambda: place.tale.endings != [])
    assert place.tale.endings == [("subject a", "done")]
    assert place.tale.lives == [1]


def test_a_run_that_never_comes_to_an_end_is_ended(place: Place) -> None:
    """One that kills its process each time must not do so for ever."""

    def story(run: DurableRun) -> None:
        raise PowerCut

    place.tale.do = story
    place.enqueue("a")
    for _ in range(50):
        with pytest.raises(PowerCut):
            place.engine.run_next()
        place.engine.take_up()
    place.engine.run_next()
    assert place.states() == {"a": RunState.DONE}
    assert len(place.tale.lives) == 50
    ((_, failure),) = place.tale.endings
    assert "50 times" in str(failure)


def test_being_interrupted_is_not_dying(place: Place) -> None:
    """However often the service is restarted in the middle of a long run."""

    def story(run: DurableRun) -> str:
        if run.claim.number < 70:
            raise Interrupted
        return "done"

    place.tale.do = story
    place.enqueue("a")
    for _ in range(70):
        place.engine.run_next()
    assert place.tale.endings == [("subject a", "done")]


def test_a_stop_gives_runs_back_to_be_taken_up(place: Place) -> None:
    """Those at work come to their next safe point; those that wait go on waiting."""
    begun, done = threading.Semaphore(0), []

    def story(run: DurableRun) -> None:
        done.append(run.step("first", lambda: 1))
        begun.release()
        while True:
            run.check()
            threading.Event().wait(0.005)

    place.tale.do = story
    place.enqueue(*"abcde")
    place.engine.start()
    for _ in range(3):
        assert begun.acquire(timeout=5)
    assert place.engine.stop(timedelta(seconds=5))
    assert set(place.states().values()) == {RunState.WAITING}
    assert place.tale.endings == []
    place.tale.do = lambda run: run.step("first", lambda: 2)
    place.engine = place.another_engine()
    place.engine.start()
    _wait(lambda: len(place.tale.endings) == 5)
    assert sorted(str(result) for _, result in place.tale.endings) == ["1", "1", "1", "2", "2"]


def test_a_stop_does_not_wait_for_a_pause_between_tries(place: Place) -> None:
    place.engine = Engine(place.records, {RunKind.BACKUP: place.tale}, pauses=(600,))
    tried = threading.Event()

    def unavailable() -> None:
        tried.set()
        raise Unavailable("no answer")

    place.tale.do = lambda run: run.step("first", unavailable)
    place.enqueue("a")
    place.engine.start()
    assert tried.wait(5)
    assert place.engine.stop(timedelta(seconds=5))
    assert place.states() == {"a": RunState.WAITING}


def test_a_submitted_run_begins_at_once_and_one_that_was_not_soon(place: Place) -> None:
    place.engine.start()
    place.enqueue("a")
    place.engine.submit(RunId("a"))
    _wait(lambda: place.tale.endings == [("subject a", None)], seconds=2)


def test_each_of_many_runs_is_told_once(place: Place) -> None:
    place.enqueue(*(f"r{number}" for number in range(60)))
    place.engine.start()
    _wait(lambda: len(place.tale.endings) >= 60)
    assert sorted(subject for subject, _ in place.tale.endings) == sorted(f"subject r{n}" for n in range(60))
    assert place.tale.lives == [1] * 60


def test_records_that_are_out_of_reach_leave_a_run_to_be_told_again(place: Place) -> None:
    """When even the failure cannot be written, another life tells the story as soon as the records are back."""
    power = Power()
    power.feed(place.records.engine)
    lives: list[int] = []

    def story(run: DurableRun) -> str:
        lives.append(run.claim.number)
        power.fault = _unreachable if len(lives) == 1 else lambda what: None
        return "good"

    place.tale.do = story
    place.enqueue("a")
    assert place.engine.run_next()
    with pytest.raises(RecordsUnavailable):
        place.engine.run_next()
    power.fault = lambda what: None
    assert place.engine.run_next()
    assert (lives, place.tale.endings) == ([1, 2], [("subject a", "good")])
    assert not place.engine.run_next()


def test_a_run_that_was_left_is_another_s_when_its_lease_has_run_out(place: Place) -> None:
    """Who left it while the records were away does not take it back."""
    power = Power()
    power.feed(place.records.engine)
    first, second = place.another_engine(), place.another_engine()

    def story(run: DurableRun) -> str:
        power.fault = _unreachable if run.claim.number == 1 else lambda what: None
        return f"life {run.claim.number}"

    place.tale.do = story
    place.enqueue("a")
    assert first.run_next()
    power.fault = lambda what: None
    place.clock.forward(61)
    assert second.run_next()
    assert not first.run_next()
    assert place.tale.endings == [("subject a", "life 2")]


def test_a_run_whose_rows_cannot_be_read_ends_no_thread(place: Place) -> None:
    """Neither its story nor its failure can be told: it is left, and the others are told by the same threads."""

    def story(run: DurableRun) -> str:
        if run.id.startswith("bad"):
            raise Damaged("a row of the records cannot be read")
        return "good"

    def failed(run: DurableRun, failure: Failure) -> Ending:
        raise Damaged("a row of the records cannot be read")

    place.tale.do = story
    place.tale.failed = failed  # type: ignore[method-assign]
    place.enqueue("bad-1", "bad-2", "bad-3", "bad-4", "good")  # more than there are threads
    place.engine.start()
    _wait(lambda: place.tale.endings == [("subject good", "good")])
    assert place.engine.running
    assert {place.states()[f"bad-{number}"] for number in (1, 2, 3, 4)} == {RunState.RUNNING}


def test_an_interruption_is_no_failure(place: Place) -> None:
    def story(run: DurableRun) -> None:
        raise Interrupted

    place.tale.do = story
    place.enqueue("a")
    place.engine.run_next()
    assert place.states() == {"a": RunState.WAITING}


def _unreachable(what: str) -> None:
    raise RecordsUnavailable("the records cannot be read or written now")


def _wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    over = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        over.wait(0.01)
    pytest.fail(f"still waiting after {seconds} s")


def test_who_watches_is_told_of_each_run_once_it_has_ended(place: Place) -> None:
    """Also of those that fail; not of one that is only given back."""
    told: list[tuple[Ended, dict[str, str]]] = []
    engine = Engine(place.records, dict.fromkeys(RunKind, place.tale), pauses=(),
                    watch=lambda run: told.append((run, place.states())))  # fmt: skip
    place.enqueue("a")
    place.enqueue("b", kind=RunKind.DELETE)
    engine.run_next()
    place.tale.do = _unreachable  # type: ignore[assignment]
    engine.run_next()
    assert [(run.kind, states["a"]) for run, states in told] == [(RunKind.BACKUP, RunState.DONE)]
    place.tale.do = _broken
    engine.run_next()
    assert [(run.kind, run.read, run.stored, run.written) for run, _ in told] == [
        (RunKind.BACKUP, 0, 0, 0), (RunKind.DELETE, 0, 0, 0)]  # fmt: skip
    assert told[1][1] == {"a": RunState.DONE, "b": RunState.DONE}


def test_it_works_from_its_start_to_its_stop(place: Place) -> None:
    assert not place.engine.works
    place.engine.start()
    assert place.engine.works
    place.engine.stop()
    assert not place.engine.works


def _broken(run: DurableRun) -> None:
    raise Damaged("bytes are not what they were")


def test_a_long_chore_holds_up_no_other_and_ends_with_the_engine(place: Place) -> None:
    """Each is done at the start and again after its own time; one that goes on for ever is ended by its check."""
    rounds, long_begun, ended = threading.Semaphore(0), threading.Event(), threading.Event()

    def long(check: Callable[[], None]) -> None:
        long_begun.set()
        try:
            while True:
                check()
                threading.Event().wait(0.002)
        except Interrupted:
            ended.set()
            raise

    def failing(check: Callable[[], None]) -> None:
        rounds.release()
        raise Unavailable("the store is away")

    place.engine.do_regularly(long)
    place.engine.do_regularly(failing, every=timedelta(seconds=0.002))
    place.engine.start()
    assert long_begun.wait(5)
    for _ in range(3):
        assert rounds.acquire(timeout=5)
    assert place.engine.stop(timedelta(seconds=5))
    assert ended.is_set()


def test_a_clock_set_forward_gives_nobody_a_run_that_is_worked_on(place: Place) -> None:
    """Its lease looks over; whoever works on it in this process goes on, and no second thread begins."""

    def story(run: DurableRun) -> str:
        place.clock.forward(5 * 365 * 86400)
        assert not place.engine.run_next()
        run.record(lambda tx: None)
        return "once"

    place.tale.do = story
    place.enqueue("a")
    assert place.engine.run_next()
    assert (place.tale.lives, place.tale.endings) == ([1], [("subject a", "once")])


def test_a_clock_set_back_leaves_no_run_to_nobody(place: Place) -> None:
    """A life that lost its lease gives the run back, instead of waiting for a time that comes in years."""

    def story(run: DurableRun) -> str:
        if run.claim.number == 1:
            place.clock.forward(-5 * 365 * 86400)
            raise LeaseLost("not renewed in time")
        return "once"

    place.tale.do = story
    place.enqueue("a")
    assert place.engine.run_next()
    assert place.engine.run_next()
    assert (place.tale.lives, place.tale.endings) == ([1, 2], [("subject a", "once")])


def test_a_failure_that_cannot_be_written_leaves_the_run_to_be_told_again(place: Place) -> None:
    """As soon as the records are back, not when its lease has run out."""
    power = Power()
    power.feed(place.records.engine)

    def story(run: DurableRun) -> str:
        if run.claim.number == 1:
            power.fault = _unreachable
            raise Damaged("the first life fails")
        return "once"

    place.tale.do = story
    place.enqueue("a")
    assert place.engine.run_next()
    power.fault = lambda what: None
    assert place.engine.run_next()
    assert place.tale.endings == [("subject a", "once")]


def test_a_chore_that_fails_by_a_bug_is_done_again(place: Place) -> None:
    """It would be silent otherwise that nothing is scheduled any more."""
    done: list[int] = []

    def chore(check: Callable[[], None]) -> None:
        done.append(1)
        if len(done) == 1:
            raise KeyError("a bug")

    engine = place.another_engine()
    engine.do_regularly(chore, timedelta(seconds=0.01))
    engine.start()
    until = time.monotonic() + 30
    while len(done) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.stop(timedelta(seconds=5))
    assert len(done) >= 3
