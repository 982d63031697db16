"""Records in a file: SQLite, for one machine."""

import os
from typing import Any

import sqlalchemy as sa

BUSY_TIMEOUT = 30_000  # ms a transaction waits for another's write lock before it is Unavailable


def open_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=16, max_overflow=64)  # more than requests and runs at once
    _make_private(url.database)
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _make_private(file: str | None) -> None:
    """Make the database's file readable by its owner alone; SQLite gives its journals the same mode."""
    if file and file != ":memory:":
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _on_begin does
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a commit is on the disk when it returns; NORMAL would lose the last ones in a power cut
        f"busy_timeout={BUSY_TIMEOUT}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
