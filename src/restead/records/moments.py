"""What the records know of the time: up to when the clock was believed, and how long another time has gone on."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from restead.domain.errors import Damaged
from restead.records.database import Transaction
from restead.records.remembered import keep_value, value
from restead.records.tables import backups

_NAME = "moments"


@dataclass(frozen=True, slots=True)
class Moments:
    """*newest*: of the time that is believed.  *at*: of another time that the clock shows, None if it shows none."""

    newest: datetime
    at: datetime | None = None
    lived: float = 0.0  # seconds for which that other time has gone on, while a service ran


def moments(tx: Transaction) -> Moments | None:
    """Return what was kept last; if nothing was, the newest moment that a backup shows; None if there is none.

    Raises:
        Damaged: the row is none of ours.
    """
    found = value(tx, _NAME)
    if found is None:
        newest = tx.connection.scalar(sa.select(sa.func.max(backups.c.protected_at)))
        return None if newest is None else Moments(newest)
    try:
        at = found["at"]
        return Moments(
            datetime.fromisoformat(found["newest"]), None if at is None else datetime.fromisoformat(at), found["lived"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("a row of the records holds no moments", detail=repr(error)) from error


def keep_moments(tx: Transaction, known: Moments) -> None:
    at = None if known.at is None else known.at.isoformat()
    keep_value(tx, _NAME, {"newest": known.newest.isoformat(), "at": at, "lived": known.lived})
