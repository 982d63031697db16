"""What the service remembers of itself: who it is, and the newest digest of each repository's log it has seen.

That digest also stands in the cache, which may be lost at any time; here it is as safe as everything else.
"""

import secrets
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import Damaged
from restead.records.database import Transaction
from restead.records.tables import remembered

_SERVICE = "service"
_WRITTEN = "written"


def service_id(tx: Transaction) -> str:
    """Return the id of the service that these records are of, made when it is first asked for."""
    found = own_id(tx)
    if found is None:
        become(tx, found := secrets.token_hex(16))
    return found


def own_id(tx: Transaction) -> str | None:
    """Return the id of the service that these records are of, None if nobody has asked for it yet."""
    found = value(tx, _SERVICE)
    return None if found is None else str(found)


def become(tx: Transaction, id: str) -> None:
    """Be the service of that id from now on: what it knew was taken over."""
    keep_value(tx, _SERVICE, id)


def newest_digest(tx: Transaction, repository_id: bytes) -> tuple[int, bytes]:
    """Return number and digest of the newest entry of that log; (0, zeroes) if none is known.

    Raises:
        Damaged: the row is none of ours.
    """
    found = value(tx, _log(repository_id))
    if found is None:
        return 0, bytes(32)
    try:
        return int(found["number"]), bytes.fromhex(found["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("a row of the records holds no digest of a log", detail=repr(error)) from error


def keep_digest(tx: Transaction, repository_id: bytes, number: int, digest: bytes) -> None:
    """Remember that entry, unless a newer one is known."""
    if number > newest_digest(tx, repository_id)[0]:
        keep_value(tx, _log(repository_id), {"number": number, "digest": digest.hex()})


def forget_digest(tx: Transaction, repository_id: bytes) -> None:
    """Believe whatever history the repository shows next."""
    tx.connection.execute(remembered.delete().where(remembered.c.name == _log(repository_id)))


def write(tx: Transaction) -> None:
    """Write something, as small as can be: whoever commits it knows that the records can be written."""
    keep_value(tx, _WRITTEN, tx.now.isoformat())


def _log(repository_id: bytes) -> str:
    return f"log/{repository_id.hex()}"


def value(tx: Transaction, name: str) -> Any:
    return tx.connection.scalar(sa.select(remembered.c.value).where(remembered.c.name == name))


def keep_value(tx: Transaction, name: str, value: object) -> None:
    changed = tx.connection.execute(remembered.update().where(remembered.c.name == name).values(value=value))
    if not changed.rowcount:
        tx.connection.execute(remembered.insert().values(name=name, value=value))
