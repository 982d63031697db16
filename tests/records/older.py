"""Records as an older release left them."""

import sqlalchemy as sa
from alembic import command

from restead.records import Transaction
from restead.records.migrating import migrations
from restead.records.tables import metadata


def set_back(tx: Transaction, revision: str) -> None:
    """Give the tables the shape of that revision, with all that it knows of the rows that are there."""
    saved = {
        table: [dict(row) for row in tx.connection.execute(sa.select(table)).mappings()]
        for table in metadata.sorted_tables
    }
    _reflected(tx).drop_all(tx.connection)
    config = migrations()
    config.attributes["connection"] = tx.connection
    command.upgrade(config, revision)
    older = _reflected(tx)
    for table, rows in saved.items():
        known = older.tables[table.name].columns if table.name in older.tables else ()
        for row in rows if known else ():
            tx.connection.execute(sa.insert(table).values({column.name: row[column.name] for column in known}))


def _reflected(tx: Transaction) -> sa.MetaData:
    there = sa.MetaData()
    there.reflect(tx.connection)
    return there
