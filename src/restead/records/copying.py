"""All rows from one database into another, and the proof that they are the same there."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import Damaged, InvalidRequest
from restead.records.database import Records, Transaction
from restead.records.tables import events, metadata

_AT_ONCE = 1000  # rows


def copy_rows(source: Records, target: Records, told: Callable[[str, int], None]) -> None:
    """Copy every row into records that have none, and read all of it again; *told*: a table, and its rows.

    One transaction: *target* has all of them in the end, or nothing.

    Raises:
        InvalidRequest: *target* has rows, or a row holds what that database cannot keep.
        Damaged: what was written does not read as it was.
    """
    target.migrate()
    with source.read() as old, target.begin() as new:
        _require_empty(new)
        for table in metadata.sorted_tables:
            _copy_table(old, new, table)
        if target.on_server:
            _go_on_counting(new)
        for table in metadata.sorted_tables:
            wanted, found = _digest(old, table), _digest(new, table)
            if wanted != found:
                raise Damaged(
                    f"table {table.name} has {wanted[0]} rows with digest {wanted[1][:16]}, "
                    f"its copy {found[0]} with {found[1][:16]}; nothing was copied"
                )
            told(table.name, wanted[0])


def _require_empty(tx: Transaction) -> None:
    for table in metadata.sorted_tables:
        if tx.connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise InvalidRequest(f"the records to copy into have rows already, in table {table.name}")


def _copy_table(old: Transaction, new: Transaction, table: sa.Table) -> None:
    for rows in _rows(old, table):
        try:
            new.connection.execute(table.insert(), rows)
        except sa.exc.DataError as error:  # a text with a NUL, say, which SQLite keeps and PostgreSQL does not
            raise InvalidRequest(
                f"a row of table {table.name} cannot be kept there; nothing was copied", detail=str(error.orig)
            ) from error


def _rows(tx: Transaction, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    """Yield all rows, many at once, in the order of their primary keys: the same one on every database."""
    query = sa.select(table).order_by(*table.primary_key.columns)
    for rows in tx.connection.execute(query, execution_options={"yield_per": _AT_ONCE}).mappings().partitions():
        yield [dict(row) for row in rows]


def _digest(tx: Transaction, table: sa.Table) -> tuple[int, str]:
    """Return how many rows there are, and a hash of what they hold, whatever database holds them."""
    count, hash = 0, hashlib.blake2b(digest_size=32)
    for rows in _rows(tx, table):
        for row in rows:
            count += 1
            hash.update(json.dumps(row, sort_keys=True, default=_plain).encode() + b"\n")
    return count, hash.hexdigest()


def _plain(value: object) -> str:
    assert isinstance(value, datetime), f"no text for {type(value).__name__}"
    return value.astimezone(UTC).isoformat()


def _go_on_counting(tx: Transaction) -> None:
    """Let new events get numbers behind those that came with theirs."""
    last = sa.func.max(events.c.id)
    number = sa.func.setval(sa.func.pg_get_serial_sequence("events", "id"), last)
    tx.connection.execute(sa.select(number).having(last > 0))
