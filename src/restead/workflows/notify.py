"""Operators are told: notices that stand in rows are brought to those who want them, again and again until they have
them or it is given up.

A notice is durable with what it tells of, so a crash can only make it come twice, with the same id.  Each recipient
has a thread of its own: one who is slow or away keeps nobody waiting.  What is due for a recipient goes out oldest
first; what failed is tried again later, and newer ones may come before it.
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from restead.domain.backup import Failure
from restead.domain.errors import ResteadError
from restead.domain.notice import Answer, Delivery, Hearing, Matter, Notice, Outcome, Recipient, Tried
from restead.domain.states import DeliveryState
from restead.ports import Notifier
from restead.records import Records, RecordsUnavailable, deliveries, notices
from restead.repository import Repository

log = structlog.get_logger()

Check = Callable[[], None]
"""Raises when a chore has to end."""


class Router:
    """The chore that says who is told of what, and forgets what is long over."""

    def __init__(
        self, records: Records, recipients: Sequence[Recipient], keep: timedelta,
        may_forget: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        """*keep*: how long it can be seen what was sent, or given up.  *may_forget*: whether the clock is believed."""
        self._may_forget = may_forget
        self._records = records
        self._recipients = recipients
        self._keep = keep

    def take_up(self) -> None:
        """Free what a process that is gone was sending; call before the first one sends."""
        with self._records.begin() as tx:
            dead = deliveries.take_up(tx, [each.name for each in self._recipients])
        if dead:
            log.warning("notices are for nobody any more", dead=dead)

    def __call__(self, check: Check) -> None:
        with self._records.read() as tx:
            waiting = deliveries.unrouted(tx)
            old = self._may_forget() and deliveries.is_old(tx, tx.now - self._keep)
        while waiting:
            check()
            with self._records.begin() as tx:
                waiting = deliveries.route(tx, self._recipients) > 0
        if old:
            with self._records.begin() as tx:
                deliveries.forget_before(tx, tx.now - self._keep)


class Deliverer:
    """The chore that brings one recipient what is due; only one of them at a time has a notice in its hands."""

    def __init__(
        self, records: Records, recipient: Recipient, notifier: Notifier, give_up: timedelta,
        watch: Callable[[Tried], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """*give_up*: for about how long a notice is tried.  *watch*: is told of each try, once its end is durable."""
        self._records = records
        self._recipient = recipient
        self._notifier = notifier
        self._give_up = give_up
        self._watch = watch

    def __call__(self, check: Check) -> None:
        while self._is_due():
            check()
            with self._records.begin() as tx:
                mark, found = deliveries.claim(tx, self._recipient)
            if not found:
                return
            # If we die from here on, it is sent again after the next start: they know it by its id.
            answer = self._notifier.send(found)
            with self._records.begin() as tx:
                settled = deliveries.settle(tx, mark, answer, self._give_up)
            self._tell(found, settled, answer)
            if answer.hearing is Hearing.LATER:
                return  # nobody is there: the rest is tried at the next look, not one after the other now

    def _is_due(self) -> bool:
        with self._records.read() as tx:
            return deliveries.due(tx, self._recipient)

    def _tell(self, found: Sequence[Notice], settled: Sequence[Delivery], answer: Answer) -> None:
        dead = [each for each in settled if each.state is DeliveryState.DEAD]
        self._watch(Tried(self._recipient.name, len(found), answer.hearing, len(dead)))
        about = {"recipient": self._recipient.name, "notices": len(found), "first": found[0].id,
                 "kind": found[0].kind.value, "answer": answer.said}  # fmt: skip
        if answer.hearing is Hearing.TAKEN:
            log.info("notice sent", **about)
        else:
            log.warning("notice not taken", **about, dead=len(dead))


class Heeded:
    """A chore of which operators are told when it fails, and when it goes well again."""

    def __init__(
        self, records: Records, matter: Matter, chore: Callable[[Check], None], apart: timedelta = timedelta(0)
    ) -> None:
        """*apart*: what fails again sooner than this after they were told is no news."""
        self._apart = apart.total_seconds()
        self._told: float | None = None  # when they were told last that it fails, as monotonic time
        self._records = records
        self._matter = matter
        self._chore = chore

    def __call__(self, check: Check) -> None:
        try:
            self._chore(check)
        except RecordsUnavailable:
            raise  # it says nothing of the matter, and nothing can be noted now
        except ResteadError as error:
            if self._told is None or time.monotonic() - self._told >= self._apart:
                self._fail(error)
            raise
        self._told = None
        with self._records.read() as tx:
            trouble = notices.in_trouble(tx, self._matter)
        if trouble:
            with self._records.begin() as tx:
                notices.heard(tx, self._matter, Outcome.GOOD, {})

    def _fail(self, error: ResteadError) -> None:
        with self._records.begin() as tx:
            notices.heard(tx, self._matter, Outcome.FAILED, notices.reasons(Failure(error.code, error.message)))
        self._told = time.monotonic()


class Reaching:
    """A chore: one small look at the repository, which fails while its store does not answer."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def __call__(self, check: Check) -> None:
        check()
        self._repository.log.refresh()
