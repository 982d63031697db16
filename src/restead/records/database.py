"""The database: opened, brought up to date, and its transactions.

SQLite for now; nothing but the listeners below is SQLite's own.  Every writing transaction takes the write lock
when it begins, so what it has read cannot change before it writes: check and change are one.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from restead.domain.errors import Damaged, InvalidRequest, Unavailable

Clock = Callable[[], datetime]

_BUSY_TIMEOUT = 30_000  # ms a transaction waits for another's write lock before it is Unavailable


class RecordsUnavailable(Unavailable):
    """The records do not answer.  A class of its own because nothing that is done now can be noted: whoever works
    on a promise leaves it as it stands, to be taken up again, instead of ending it as a failure."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction and its one moment: everything written in it carries the same time."""

    connection: sa.Connection
    now: datetime


class Records:
    """All rows of a service.  Safe to use from several threads and processes."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self.engine = engine
        self._clock = clock
        self._reading = engine.execution_options(reading=True)

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now) -> "Records":
        """Return the records at *url* (`sqlite:////absolute/path`); `migrate` before the first use."""
        engine = sa.create_engine(url, pool_size=16, max_overflow=64)  # more than requests and runs at once
        if engine.dialect.name == "sqlite":
            _make_private(engine.url.database)
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", _on_begin)
        return cls(engine, clock)

    def migrate(self) -> None:
        """Bring the tables up to this release's shape; nothing happens if they are.

        All in one transaction: a crash leaves the old shape.

        Raises:
            InvalidRequest: a newer release wrote the records.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        with self.begin() as tx:
            stands = MigrationContext.configure(tx.connection).get_current_revision()
            if stands is not None and stands not in known:
                raise InvalidRequest(f"the records have shape {stands}, which only a newer restead knows")
            config.attributes["connection"] = tx.connection
            command.upgrade(config, "head")

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Yield a writing transaction; durable when the block has ended without an exception.

        Raises:
            RecordsUnavailable: the database does not answer, is locked for too long, or has no space.
        """
        with _translated(), self.engine.begin() as connection:
            yield Transaction(connection, self._clock())

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that shows one moment and writes nothing.  Raises as `begin`."""
        with _translated(), self._reading.begin() as connection:
            yield Transaction(connection, self._clock())

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
        raise RecordsUnavailable("the records cannot be read or written now", detail=str(error)) from error
    except sa.exc.DatabaseError as error:
        if type(error) is not sa.exc.DatabaseError:  # IntegrityError, ProgrammingError, …: a bug, not the file
            raise
        raise Damaged("the records are damaged", detail=str(error)) from error
    except json.JSONDecodeError as error:  # from a column's type, while a row was read
        raise Damaged("a row of the records cannot be read", detail=str(error)) from error


def _make_private(file: str | None) -> None:
    """Make the database's file readable by its owner alone; SQLite gives its journals the same mode."""
    if file and file != ":memory:":
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _on_begin does
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a commit is on the disk when it returns; NORMAL would lose the last ones in a power cut
        f"busy_timeout={_BUSY_TIMEOUT}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
