"""Operators are told: what becomes true is told in the end, in order, to those who want it, whatever dies meanwhile."""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta

import pytest
from tests.fakes.notifier import MemoryNotifier
from tests.fakes.power import Power, PowerCut
from tests.lab.databases import empty
from tests.workflows.town import DAY, HOUR, MIDNIGHT, P, Town

from restead.domain.backup import Failure
from restead.domain.errors import Code, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import RunId, ServerId, new_id
from restead.domain.listing import Window
from restead.domain.notice import (
    Answer,
    Delivery,
    DeliveryFilter,
    Hearing,
    Matter,
    NoticeKind,
    Recipient,
    Tried,
    kinds_of,
)
from restead.domain.operation import Operation
from restead.domain.run import RunKind
from restead.domain.states import DeliveryState, OperationState
from restead.records import deliveries, notices, operations, runs
from restead.workflows.notify import Deliverer, Heeded, Router

_K = NoticeKind
_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)
_BAD = Failure(Code.UNAVAILABLE, "the disk does not answer")


class Telling:
    """A town, and those in it who are told."""

    def __init__(self, town: Town, *recipients: Recipient) -> None:
        self.town = town
        self.recipients = recipients or (Recipient("ops"),)
        self.ears = {each.name: MemoryNotifier() for each in self.recipients}
        self.tried: list[Tried] = []
        self.router = Router(town.records, self.recipients, timedelta(days=90))

    @property
    def ops(self) -> MemoryNotifier:
        return self.ears["ops"]

    def happen(self, kind: NoticeKind = _K.COLLECTION_FAILED, why: str = "") -> None:
        facts = {"code": "", "reason": why} if kind is _K.COLLECTION_FAILED else {}
        with self.town.records.begin() as tx:
            notices.say(tx, kind, notices.NO_PROJECT, facts)

    def look(self, *, after: timedelta = timedelta(0)) -> None:
        """Let every chore look once."""
        self.town.now += after
        self.router(lambda: None)
        for each in self.recipients:
            Deliverer(self.town.records, each, self.ears[each.name], DAY, self.tried.append)(lambda: None)

    def there(self, state: DeliveryState | None = None) -> list[Delivery]:
        with self.town.records.read() as tx:
            return list(deliveries.list_deliveries(tx, DeliveryFilter(state), Window()).items)

    def whys(self) -> list[object]:
        return [each.facts["reason"] for each in self.ops.heard]


@pytest.fixture
def town(database: str) -> Iterator[Town]:
    town = Town(database)
    yield town
    town.close()


@pytest.fixture
def telling(town: Town) -> Telling:
    return Telling(town)


def settle(town: Town, failure: Failure | None = None) -> None:
    """End what is under way as the engine does: its run, its backup and its entry of the log, at once."""
    with town.records.begin() as tx:
        while (claim := runs.claim(tx, "me", HOUR)) is not None:
            runs.finish(tx, claim)
    town.finish(failure)
    with town.records.begin() as tx:
        for backup in town.backups():
            operations.settled(tx, backup.run_id)


def leave_out(town: Town, why: str) -> None:
    """Have an entry of the log say that a server was left out of a policy's run."""
    operation = Operation(RunId(new_id()), P, RunKind.BACKUP, OperationState.SKIPPED, MIDNIGHT, MIDNIGHT,
                          server_id=ServerId("s"), server_name="web-1",
                          failure=Failure(Code.QUOTA_EXCEEDED, why))  # fmt: skip
    with town.records.begin() as tx:
        operations.add(tx, operation)


def kinds(telling: Telling) -> list[NoticeKind]:
    return [each.kind for each in telling.ops.heard]


# ------------------------------------------------------------------ what is told of


def test_failures_and_the_first_success_after_them(telling: Telling) -> None:
    """Good backups are no news, failed ones are, and the first good one after them is."""
    town, server = telling.town, telling.town.server()
    town.policy(server)
    for day, failure in enumerate([None, _BAD, _BAD, None, None]):
        town.look(MIDNIGHT + day * DAY + 3 * HOUR)
        settle(town, failure)
        telling.look()
    assert kinds(telling) == [_K.BACKUP_FAILED, _K.BACKUP_FAILED, _K.BACKUP_RECOVERED]
    failed, recovered = telling.ops.heard[0], telling.ops.heard[-1]
    assert (failed.project_id, failed.facts["server_name"], failed.facts["code"]) == ("p", "web-1", "CSBS.9998")
    assert failed.summary == "the backup of server web-1 failed: the disk does not answer"
    assert failed.facts["backup_id"] != recovered.facts["backup_id"]
    assert recovered.at == MIDNIGHT + 3 * DAY + 3 * HOUR


def test_servers_recover_each_for_itself(telling: Telling) -> None:
    """Both fail; then one is backed up, and the other is gone from its cloud for a day."""
    town = telling.town
    one, other = town.server("one"), town.server("other")
    town.policy(one, other)
    for day, failure in enumerate([_BAD, None, None]):
        town.cloud.put(other) if day != 1 else town.cloud.remove(other.id)
        town.look(MIDNIGHT + day * DAY + 3 * HOUR)
        settle(town, failure)
    telling.look()
    told = {name: [each.kind for each in telling.ops.heard if each.facts["server_name"] == name]
            for name in ("one", "other")}  # fmt: skip
    assert told == {
        "one": [_K.BACKUP_FAILED, _K.BACKUP_RECOVERED],
        "other": [_K.BACKUP_FAILED, _K.BACKUP_MISSED, _K.BACKUP_RECOVERED],
    }


def test_a_time_that_is_left_out_is_told(telling: Telling) -> None:
    """While nothing looked three times passed; one is run for all of them."""
    town = telling.town
    town.policy(town.server())
    town.look(MIDNIGHT + 2 * DAY + 3 * HOUR)
    telling.look()
    assert kinds(telling) == [_K.POLICY_MISSED]
    assert telling.ops.heard[0].summary.startswith("policy nightly: 2 times passed while nothing could be run")


def test_a_server_that_is_left_out_is_told(telling: Telling) -> None:
    """And its next good backup is the first after that."""
    leave_out(telling.town, "the quota is used up")
    telling.look()
    assert kinds(telling) == [_K.BACKUP_MISSED]
    assert telling.ops.heard[0].facts["code"] == "CSBS.9006"


def test_what_is_rolled_back_is_not_told(telling: Telling) -> None:
    """Nothing is told that is not true."""
    town = telling.town
    with suppress(ZeroDivisionError), town.records.begin() as tx:
        notices.say(tx, _K.COLLECTION_RECOVERED, notices.NO_PROJECT, {})
        raise ZeroDivisionError
    telling.look()
    assert telling.ops.sent == []


def test_a_chore_that_fails_is_told_and_when_it_goes_well_again(telling: Telling) -> None:
    outcomes = iter([None, Unavailable("the store is away"), Unavailable("still"), None, None])

    def chore(_check: object) -> None:
        if (error := next(outcomes)) is not None:
            raise error

    heeded = Heeded(telling.town.records, Matter.COLLECTION, chore)
    for fails in (False, True, True, False, False):
        if fails:
            with pytest.raises(Unavailable):
                heeded(lambda: None)
        else:
            heeded(lambda: None)
    telling.look()
    assert kinds(telling) == [_K.COLLECTION_FAILED, _K.COLLECTION_FAILED, _K.COLLECTION_RECOVERED]
    assert telling.ops.heard[0].facts == {"code": "CSBS.9998", "reason": "the store is away"}


def test_what_fails_again_soon_is_no_news(telling: Telling) -> None:
    """A chore that is tried again sooner than it would be done tells as often as it did."""
    outcomes = iter([Unavailable("the store is away"), Unavailable("still"), None, Unavailable("again"), None])

    def chore(_check: object) -> None:
        if (error := next(outcomes)) is not None:
            raise error

    heeded = Heeded(telling.town.records, Matter.COLLECTION, chore, apart=timedelta(hours=1))
    for fails in (True, True, False, True, False):
        with pytest.raises(Unavailable) if fails else nullcontext():
            heeded(lambda: None)
    telling.look()
    assert kinds(telling) == [_K.COLLECTION_FAILED, _K.COLLECTION_RECOVERED] * 2


# ------------------------------------------------------------------ how it is brought


def test_each_is_told_what_they_want(town: Town) -> None:
    telling = Telling(town, Recipient("ops"), Recipient("few", kinds_of(["*.recovered"])))
    telling.happen()
    telling.happen(_K.COLLECTION_RECOVERED)
    telling.look()
    assert kinds(telling) == [_K.COLLECTION_FAILED, _K.COLLECTION_RECOVERED]
    assert [each.kind for each in telling.ears["few"].heard] == [_K.COLLECTION_RECOVERED]
    assert len({*telling.ops.received(), *telling.ears["few"].received()}) == 2  # the same ids


def test_where_nobody_wants_it_nothing_is_kept(town: Town) -> None:
    telling = Telling(town, Recipient("few", kinds_of(["restore.*"])))
    telling.happen()
    telling.look()
    with town.records.read() as tx:
        assert (deliveries.unrouted(tx), deliveries.figures(tx)) == (False, (0, 0, timedelta(0)))
    assert telling.there() == []


def test_one_who_is_away_keeps_nobody_waiting(town: Town) -> None:
    telling = Telling(town, Recipient("ops"), Recipient("away"))
    telling.ears["away"].be("away")
    telling.happen()
    telling.look()
    assert len(telling.ops.heard) == 1
    assert [each.recipient for each in telling.there(DeliveryState.WAITING)] == ["away"]


def test_they_come_in_the_order_in_which_things_happened(telling: Telling) -> None:
    """Wherever the clock is set between them."""
    for why, hours in (("1", -30), ("2", 50), ("3", -200)):
        telling.happen(why=why)
        telling.town.now += hours * HOUR
    telling.look()
    assert telling.whys() == ["1", "2", "3"]


def test_what_is_not_taken_is_tried_for_a_day_and_then_kept_as_dead(telling: Telling) -> None:
    telling.ops.be("gone")
    telling.happen()
    for _ in range(80):  # a fifth more or less of each pause: a day may have 29 hours
        telling.look(after=HOUR / 2)
    (dead,) = telling.there()
    assert (dead.state, dead.tries, dead.next_at, dead.answer) == (DeliveryState.DEAD, 11, None, "no answer")
    assert len(telling.ops.sent) == 11
    assert [each.dead for each in telling.tried] == [0] * 10 + [1]


def test_what_is_refused_is_dead_after_three_tries(telling: Telling) -> None:
    telling.ops.be("against")
    telling.happen()
    for _ in range(5):
        telling.look(after=_MINUTE)
    assert [(each.state, each.tries) for each in telling.there()] == [(DeliveryState.DEAD, 3)]


def test_dead_ones_are_tried_again_or_dropped(telling: Telling) -> None:
    telling.ops.be("against")
    for why in "123":
        telling.happen(why=why)
    for _ in range(10):
        telling.look(after=_MINUTE)
    telling.ops.be("well")
    first, second, third = sorted(telling.there(DeliveryState.DEAD), key=lambda each: each.notice.number)
    with telling.town.records.begin() as tx:
        assert deliveries.retry(tx, first.id) == 1
        assert deliveries.drop(tx, second.id) == 1
    with pytest.raises(InvalidRequest, match="is waiting, not dead"), telling.town.records.begin() as tx:
        deliveries.drop(tx, first.id)
    with pytest.raises(NotFound), telling.town.records.begin() as tx:
        deliveries.retry(tx, second.id)
    telling.look()
    assert telling.whys() == ["1"]
    with telling.town.records.begin() as tx:
        assert deliveries.retry(tx, None) == 1
        assert deliveries.drop(tx, None) == 0
    telling.look()
    assert telling.whys() == ["1", "3"]
    assert {each.notice.id for each in telling.there(DeliveryState.SENT)} == {first.notice.id, third.notice.id}
    assert len(telling.there()) == 2


def test_they_are_asked_again_no_sooner_than_they_said(telling: Telling) -> None:
    telling.ops.answer(Answer(Hearing.LATER, "429", 10 * _MINUTE))
    telling.happen()
    telling.look()
    telling.look(after=9 * _MINUTE)
    assert len(telling.ops.sent) == 1
    telling.look(after=2 * _MINUTE)
    assert len(telling.ops.sent) == 2


def test_two_hundred_failures_in_a_minute_are_one_mail(town: Town) -> None:
    telling = Telling(town, Recipient("ops", at_once=1000, window=_MINUTE))
    for number in range(200):
        telling.happen(why=str(number))
        if number % 40 == 0:
            telling.look(after=10 * _SECOND)
    telling.look(after=_MINUTE)
    assert [len(each) for each in telling.ops.sent] == [200]
    assert telling.whys() == [str(number) for number in range(200)]
    telling.happen()
    telling.look(after=_SECOND)
    assert len(telling.ops.sent) == 1  # it waits for others, too


def test_a_mail_that_failed_is_one_mail_again(town: Town) -> None:
    """And what has come since comes with it, if it is due."""
    telling = Telling(town, Recipient("ops", at_once=1000, window=_MINUTE))
    telling.ops.be("away")
    for why in "123":
        telling.happen(why=why)
    telling.look(after=_SECOND)
    for _ in range(8):  # 5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h
        telling.look(after=5 * HOUR)
    telling.ops.be("well")
    telling.happen(why="4")
    telling.look(after=20 * HOUR)
    assert {len(each) for each in telling.ops.sent[:-1]} == {3}
    assert telling.whys() == ["1", "2", "3", "4"]


def test_a_clock_that_is_set_makes_nothing_wait_for_it(telling: Telling) -> None:
    """Back by a year, or forward by one: it is tried again at once, and never given up for it."""
    for jump in (-365 * DAY, 365 * DAY):
        telling.ops.be("busy")
        telling.happen()
        telling.look()
        telling.ops.be("well")
        telling.look(after=jump)
        assert telling.there(DeliveryState.WAITING) == []
    assert len(telling.ops.heard) == 2


def test_a_claim_outlives_no_clock(telling: Telling) -> None:
    """A process died while it was sending, and then the clock was set back."""
    telling.happen()
    telling.router(lambda: None)
    with telling.town.records.begin() as tx:
        mark, found = deliveries.claim(tx, telling.recipients[0])
        assert (len(found), deliveries.claim(tx, telling.recipients[0])) == (1, ("", ()))
    telling.look()
    assert telling.ops.sent == []
    telling.look(after=-DAY)
    assert len(telling.ops.sent) == 1
    with telling.town.records.begin() as tx:
        assert deliveries.settle(tx, mark, Answer(Hearing.REFUSED, "late"), DAY) == []  # it has nothing to say any more
    assert [each.state for each in telling.there()] == [DeliveryState.SENT]


def test_a_start_takes_up_what_was_being_sent(telling: Telling) -> None:
    telling.happen()
    telling.router(lambda: None)
    with telling.town.records.begin() as tx:
        deliveries.claim(tx, telling.recipients[0])
    telling.router.take_up()
    telling.look()
    assert len(telling.ops.heard) == 1


def test_who_is_told_no_more_leaves_dead_ones_behind(town: Town) -> None:
    before = Telling(town, Recipient("gone"))
    before.ears["gone"].be("away")
    before.happen()
    before.look()
    Telling(town).router.take_up()
    (dead,) = before.there()
    assert (dead.state, dead.answer) == (DeliveryState.DEAD, "the settings name no such recipient any more")


def test_what_is_long_over_is_forgotten(telling: Telling) -> None:
    telling.happen(why="old")
    telling.look()
    telling.happen(why="new")
    telling.look(after=50 * DAY)
    telling.look(after=50 * DAY)
    assert [each.notice.facts["reason"] for each in telling.there()] == ["new"]


# ------------------------------------------------------------------ power cuts


@pytest.mark.long_on_postgres
@pytest.mark.parametrize("mood", ["well", "busy"])
def test_power_cuts(database_name: str, mood: str) -> None:
    """Cut at every commit, and around every notice that comes: what is true is told, once or more, under one id; what
    is not is never told."""
    cuts = 0
    for cut_at in range(1, 100):
        with empty(database_name) as database:
            if not _live_with_a_cut(database, cut_at, mood):
                break
            cuts += 1
    else:
        pytest.fail("it never came to its end without a cut")
    assert cuts >= 12


def _live_with_a_cut(database: str, cut_at: int, mood: str) -> bool:
    town, power, done = Town(database), Power(cut_at), list[str]()
    telling = Telling(town)
    telling.ears["ops"] = ears = MemoryNotifier(lambda: power.tick("before it comes"), lambda: power.tick("it came"))
    ears.be(mood)
    power.feed(town.records.engine)
    try:
        for why in ("1", "2"):
            leave_out(town, why)
            done.append(why)
            telling.look(after=_SECOND)
        ears.be("well")
        telling.look(after=_MINUTE)
        cut = False
    except PowerCut:
        cut = True
    finally:
        town.close()
    _after_the_cut(database, town, ears, done, cut)
    return cut


def _after_the_cut(database: str, before: Town, ears: MemoryNotifier, done: list[str], cut: bool) -> None:
    """Start again, with power; all that was durable has come when it has come to rest."""
    town = Town(database)
    town.now = before.now + HOUR
    true = {each.id: each.failure.message for each in town.log() if each.failure}
    again = Telling(town)
    again.router.take_up()
    again.look()
    again.look(after=HOUR)
    heard = {each.id: each for each in (*ears.heard, *again.ops.heard)}
    assert {each.facts["operation_id"] for each in heard.values()} == set(true)  # nothing lost, nothing invented
    assert len(heard) == len(true)  # each under one id
    assert set(done) <= set(true.values())
    assert len(true) - len(done) in (0, 1)  # whose commit was durable, and nobody heard so
    assert {each.state for each in again.there()} <= {DeliveryState.SENT}
    assert cut or len(ears.heard) == 2
    town.close()
