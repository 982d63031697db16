"""The stories of runs: appended, never changed."""

from typing import Any

import sqlalchemy as sa

from restead.domain.ids import RunId
from restead.domain.run import RunEvent, Told
from restead.records.database import Transaction
from restead.records.encoding import plain
from restead.records.tables import events


def add(tx: Transaction, run_id: RunId, kind: Told, subject: str = "", **numbers: Any) -> None:
    tx.connection.execute(
        events.insert().values(run_id=run_id, at=tx.now, kind=kind, subject=subject, numbers=plain(numbers))
    )


def story(tx: Transaction, run_id: RunId, *, after: int = 0, limit: int = 1000) -> tuple[RunEvent, ...]:
    """Return what a run has told, in its order, from the event behind number *after* on."""
    query = sa.select(events).where(events.c.run_id == run_id, events.c.id > after).order_by(events.c.id).limit(limit)
    return tuple(
        RunEvent(row.id, row.run_id, row.at, Told(row.kind), row.subject, row.numbers)
        for row in tx.connection.execute(query)
    )
