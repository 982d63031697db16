"""All rows of a database: read, taken away, put back.  For tests of lost and of older records."""

import sqlalchemy as sa

from restead.records import Records
from restead.records.tables import metadata

Rows = dict[str, list[dict[str, object]]]


def everything(records: Records) -> Rows:
    """Return every row, by table."""
    with records.read() as tx:
        return {
            table.name: [
                dict(row)
                for row in tx.connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
            ]
            for table in metadata.sorted_tables
        }


def lose(records: Records) -> None:
    """Take away rows and tables, as if there had never been any.

    What counts numbers of events goes with them.
    """
    with records.begin() as tx:
        tables = sa.MetaData()
        tables.reflect(tx.connection)
        tables.drop_all(tx.connection)


def put_back(records: Records, rows: Rows) -> None:
    """Let these be the rows, whatever is there now."""
    lose(records)
    records.migrate()
    with records.begin() as tx:
        for table in metadata.sorted_tables:
            if rows[table.name]:
                tx.connection.execute(table.insert(), rows[table.name])
        if records.on_server:  # what numbers events was not told of those that came with their numbers
            tx.connection.execute(
                sa.text("SELECT setval(pg_get_serial_sequence('events', 'id'), max(id)) FROM events HAVING max(id) > 0")
            )
