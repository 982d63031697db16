"""Which data folder the records belong to.

A file in a data folder belongs to it, and the folder's lock keeps a second service away.  A database on a server can be
reached from everywhere, while keys, servers and sockets stand in one folder: so it is noted here whose it is.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from restead.domain.errors import Unavailable
from restead.records.database import Transaction
from restead.records.tables import remembered

_NAME = "owner"


@dataclass(frozen=True, slots=True)
class Owner:
    """A data folder, by the id that was made for it, and what to call it."""

    id: str
    called: str  # for people


def owner(tx: Transaction) -> Owner | None:
    """Return whose the records are, None if nobody said so."""
    found = tx.connection.scalar(sa.select(remembered.c.value).where(remembered.c.name == _NAME))
    return None if found is None else Owner(found["id"], found["called"])


def own(tx: Transaction, new: Owner | None) -> None:
    """Let the records be another's; None: whose data folder they are in."""
    tx.connection.execute(remembered.delete().where(remembered.c.name == _NAME))
    if new is not None:
        value = {"id": new.id, "called": new.called}
        tx.connection.execute(remembered.insert().values(name=_NAME, value=value))


def require(tx: Transaction, me: Owner, *, on_server: bool) -> None:
    """Return if the records are ours; records on a server that are nobody's become ours.

    Raises:
        Unavailable: they are another's.
    """
    found = owner(tx)
    if found is None and on_server:
        own(tx, me)
    elif found is not None and found.id != me.id:
        raise Unavailable(f"the records belong to {found.called}; when that is over for good: restead db claim")
