"""Rows of notices on their way: who is told what, how often it was tried, and what they answered.

A delivery that is tried belongs to its claim: only who holds it may say what came of the try, so one that was believed
dead and is not changes nothing any more.  Times are those of a clock that may be set: a next try, or the end of a
claim, that lies further ahead than it ever can counts as passed.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import canonical_id, new_id
from restead.domain.listing import Page, Window
from restead.domain.notice import (
    LONGEST_PAUSE,
    Answer,
    Delivery,
    DeliveryFilter,
    Hearing,
    Notice,
    Recipient,
    pause,
)
from restead.domain.states import DELIVERY, DeliveryState, Event, after
from restead.records import listing
from restead.records import notices as notice_rows
from restead.records.database import Transaction
from restead.records.tables import deliveries, notices

LEASE = timedelta(minutes=5)  # longer than any try: drivers give up long before

_AT_ONCE = 1000
_LONGEST_ANSWER = 500  # characters
_SORTS = {name: deliveries.c[name] for name in ("created_at", "updated_at", "id")} | {"status": deliveries.c.state}


def unrouted(tx: Transaction) -> bool:
    """Tell whether there are notices of which it does not stand who is told."""
    query = sa.select(notices.c.id).where(notices.c.routed.is_(False)).limit(1)
    return tx.connection.execute(query).first() is not None


def route(tx: Transaction, recipients: Collection[Recipient]) -> int:
    """Have the oldest unrouted notices told to all who want them; tell how many there were.

    One that nobody wants is forgotten.
    """
    query = sa.select(notices).where(notices.c.routed.is_(False)).order_by(notices.c.number).limit(_AT_ONCE)
    found = [notice_rows.notice_of(row) for row in tx.connection.execute(query)]
    rows = [_first(tx, notice, each) for notice in found for each in recipients if notice.kind in each.kinds]
    if rows:
        tx.connection.execute(deliveries.insert(), rows)
    wanted = {row["notice_id"] for row in rows}
    routed = notices.update().where(notices.c.id.in_(wanted))
    tx.connection.execute(routed.values(routed=True))
    tx.connection.execute(notices.delete().where(notices.c.id.in_({each.id for each in found} - wanted)))
    return len(found)


def _first(tx: Transaction, notice: Notice, recipient: Recipient) -> dict[str, Any]:
    return {"id": new_id(), "notice_id": notice.id, "number": notice.number, "recipient": recipient.name,
            "state": DeliveryState.WAITING, "created_at": tx.now, "updated_at": tx.now, "tries": 0,
            "next_at": tx.now + recipient.window, "answer": "", "claim": "", "until": None}  # fmt: skip


def take_up(tx: Transaction, recipients: Collection[str]) -> int:
    """Free what a dead process was trying, and give up what is for nobody any more; tell how many are given up.

    For a start, when every claim is known to be of a process that is gone.
    """
    waiting = deliveries.c.state == DeliveryState.WAITING
    tx.connection.execute(deliveries.update().where(waiting).values(claim="", until=None))
    gone = sa.and_(waiting, deliveries.c.recipient.not_in(list(recipients)))
    dead = {"state": after(DELIVERY, DeliveryState.WAITING, Event.GIVEN_UP), "next_at": None, "updated_at": tx.now}
    why = "the settings name no such recipient any more"
    return tx.connection.execute(deliveries.update().where(gone).values(**dead, answer=why)).rowcount


def due(tx: Transaction, recipient: Recipient) -> bool:
    """Tell whether something is to be tried now."""
    return tx.connection.execute(sa.select(deliveries.c.id).where(*_due(tx, recipient)).limit(1)).first() is not None


def claim(tx: Transaction, recipient: Recipient) -> tuple[str, Sequence[Notice]]:
    """Take what is to be tried next, oldest first; return the claim and the notices, none if nothing is due.

    Who takes several at once gets those along whose window has not ended, too.  The try counts from now on, so what
    kills us each time is given up in the end.
    """
    if not due(tx, recipient):
        return "", ()
    conditions = _due(tx, recipient) if recipient.at_once == 1 else _waiting(tx, recipient)
    query = sa.select(deliveries.c.id, deliveries.c.notice_id).where(*conditions)
    if recipient.at_once > 1:
        query = query.where(sa.or_(deliveries.c.tries == 0, _passed(tx)))
    rows = tx.connection.execute(query.order_by(deliveries.c.number).limit(recipient.at_once)).all()
    mark = new_id()
    taken = deliveries.update().where(deliveries.c.id.in_([row.id for row in rows]))
    tx.connection.execute(taken.values(claim=mark, until=tx.now + LEASE, tries=deliveries.c.tries + 1))
    found = notice_rows.read(tx, [row.notice_id for row in rows])
    return mark, sorted(found.values(), key=lambda notice: notice.number)


def settle(tx: Transaction, mark: str, answer: Answer, give_up: timedelta) -> list[Delivery]:
    """Note what came of a try; return what has become of each delivery, none if the claim is over."""
    query = sa.select(deliveries).where(deliveries.c.claim == mark, deliveries.c.state == DeliveryState.WAITING)
    rows = tx.connection.execute(query.order_by(deliveries.c.number)).all()
    for row in rows:
        wait = None if answer.hearing is Hearing.TAKEN else pause(mark, row.tries, answer, give_up)
        event = Event.DONE if answer.hearing is Hearing.TAKEN else Event.GIVEN_UP if wait is None else Event.RETRY
        _move(tx, row, event, next_at=None if wait is None else tx.now + wait, answer=answer.said[:_LONGEST_ANSWER])
    settled = sa.select(deliveries).where(deliveries.c.id.in_([row.id for row in rows])).order_by(deliveries.c.number)
    return _deliveries(tx, tx.connection.execute(settled).all())


def list_deliveries(tx: Transaction, wanted: DeliveryFilter, window: Window) -> Page[Delivery]:
    """Return a page of what all recipients were, or are to be, told."""
    equal = {deliveries.c.state: wanted.state, deliveries.c.recipient: wanted.recipient}
    where = [column == value for column, value in equal.items() if value is not None]
    found, more = listing.rows(tx, deliveries, None, where, window, _SORTS)
    return Page(tuple(_deliveries(tx, found)), more)


def retry(tx: Transaction, id: str | None) -> int:
    """Have a dead delivery tried again, all if *id* is None, as if for the first time; tell how many.

    Raises:
        NotFound: there is none of that id.
        InvalidRequest: it is not dead.
    """
    rows = _dead(tx, id)
    for row in rows:
        _move(tx, row, Event.RETRY, tries=0, next_at=tx.now)
    return len(rows)


def drop(tx: Transaction, id: str | None) -> int:
    """Remove a dead delivery, all if *id* is None; tell how many.  Raises as `retry`."""
    rows = _dead(tx, id)
    for row in rows:
        tx.connection.execute(deliveries.delete().where(deliveries.c.id == row.id))
    if rows:
        _forget_told(tx)
    return len(rows)


def is_old(tx: Transaction, moment: datetime) -> bool:
    """Tell whether something was sent or given up before that."""
    return tx.connection.execute(sa.select(deliveries.c.id).where(_old(moment)).limit(1)).first() is not None


def forget_before(tx: Transaction, moment: datetime) -> int:
    """Forget what was sent or given up before that; tell how many."""
    count = tx.connection.execute(deliveries.delete().where(_old(moment))).rowcount
    if count:
        _forget_told(tx)
    return count


def figures(tx: Transaction) -> tuple[int, int, timedelta]:
    """Return how many deliveries wait, how many are dead, and how long the oldest waits; unrouted notices wait, too."""
    waiting = deliveries.c.state == DeliveryState.WAITING
    number, first = tx.connection.execute(
        sa.select(sa.func.count(), sa.func.min(deliveries.c.created_at)).where(waiting)
    ).one()
    unrouted, oldest = tx.connection.execute(
        sa.select(sa.func.count(), sa.func.min(notices.c.at)).where(notices.c.routed.is_(False))
    ).one()
    dead = tx.connection.scalar(sa.select(sa.func.count()).where(deliveries.c.state == DeliveryState.DEAD)) or 0
    since = min((each for each in (first, oldest) if each is not None), default=tx.now)
    return number + unrouted, dead, max(timedelta(0), tx.now - since)


def _waiting(tx: Transaction, recipient: Recipient) -> list[sa.ColumnElement[bool]]:
    free = sa.or_(deliveries.c.until.is_(None), deliveries.c.until < tx.now, deliveries.c.until > tx.now + LEASE)
    return [deliveries.c.recipient == recipient.name, deliveries.c.state == DeliveryState.WAITING, free]


def _due(tx: Transaction, recipient: Recipient) -> list[sa.ColumnElement[bool]]:
    return [*_waiting(tx, recipient), _passed(tx)]


def _passed(tx: Transaction) -> sa.ColumnElement[bool]:
    return sa.or_(deliveries.c.next_at <= tx.now, deliveries.c.next_at > tx.now + LONGEST_PAUSE)


def _old(moment: datetime) -> sa.ColumnElement[bool]:
    # Made before that too: so the index finds at once that nothing is as old.
    before = sa.and_(deliveries.c.created_at < moment, deliveries.c.updated_at < moment)
    return sa.and_(before, deliveries.c.state.in_((DeliveryState.SENT, DeliveryState.DEAD)))


def _dead(tx: Transaction, id: str | None) -> Sequence[sa.Row[Any]]:
    if id is None:
        query = sa.select(deliveries).where(deliveries.c.state == DeliveryState.DEAD).order_by(deliveries.c.number)
        return tx.connection.execute(query).all()
    row = tx.connection.execute(sa.select(deliveries).where(deliveries.c.id == canonical_id(id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no notice {id[:64]} for anybody")
    if row.state != DeliveryState.DEAD:
        raise InvalidRequest(f"notice {row.id} for {row.recipient} is {row.state}, not {DeliveryState.DEAD.value}")
    return [row]


def _move(tx: Transaction, row: "sa.Row[Any]", event: Event, **values: Any) -> None:
    state = after(DELIVERY, DeliveryState(row.state), event)
    free = {"claim": "", "until": None, "updated_at": tx.now}
    tx.connection.execute(deliveries.update().where(deliveries.c.id == row.id).values(state=state, **free, **values))


def _forget_told(tx: Transaction) -> None:
    """Forget notices of which nobody is told any more."""
    told = sa.exists().where(deliveries.c.notice_id == notices.c.id)
    tx.connection.execute(notices.delete().where(notices.c.routed.is_(True), ~told))


def _deliveries(tx: Transaction, rows: Sequence[sa.Row[Any]]) -> list[Delivery]:
    known = notice_rows.read(tx, [row.notice_id for row in rows])
    return [
        Delivery(row.id, known[row.notice_id], row.recipient, DeliveryState(row.state), row.created_at, row.updated_at,
                 row.tries, row.next_at, row.answer)
        for row in rows
    ]  # fmt: skip
