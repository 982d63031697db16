"""The database: opened, brought up to date, and its transactions.

SQLite in the data folder, or PostgreSQL; what is their own stands in `sqlite.py` and `postgres.py`.  Every writing
transaction takes the write lock when it begins, so what it has read cannot change before it writes: check and
change are one.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

import sqlalchemy as sa

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.records import postgres, sqlite

Clock = Callable[[], datetime]

NEWEST_SHAPE = "every_order"  # the last of the migrations
_SHAPE = sa.table("alembic_version", sa.column("version_num", sa.Text))

_SQLITE, _POSTGRES = "sqlite", "postgresql"
# What PostgreSQL says while it may not be written to, or has ended a connection that kept a transaction open.
_PASSING = ("25006", "25P03", "25P04")
_NOT_NOW = "the records cannot be read or written now"
_WHY = {  # what a caller may know of the reason, by SQLite's name of the error or PostgreSQL's state
    "SQLITE_FULL": "there is no space for them", "53100": "there is no space for them",
    "SQLITE_READONLY": "they are read-only", "25006": "they are read-only",
}  # fmt: skip
_BROKEN = ("XX001", "XX002")  # damaged data, a damaged index


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
        self._turn = Lock()
        one_moment = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if self.on_server else {}
        self._reading = engine.execution_options(reading=True, **one_moment)

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now) -> "Records":
        """Return the records at *url*; connects to nothing yet.  `migrate` before the first use.

        *url*: `sqlite:////absolute/path`, or `postgresql://USER@HOST/DATABASE` with libpq's parameters behind `?`.

        Raises:
            InvalidRequest: the address is none of these.
        """
        try:
            parts = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise InvalidRequest("the address of the records is no URL") from None  # it could show a password
        if parts.drivername == _SQLITE:
            return cls(sqlite.open_engine(parts), clock)
        if parts.drivername == _POSTGRES:
            return cls(postgres.open_engine(parts), clock)
        raise InvalidRequest(f"records are kept by {_SQLITE}:// or {_POSTGRES}://, not by {parts.drivername[:40]}://")

    @property
    def on_server(self) -> bool:
        """Whether a database server keeps them, not a file."""
        return self.engine.dialect.name == _POSTGRES

    def migrate(self) -> tuple[str | None, str | None]:
        """Bring the tables up to this release's shape; return which they had (None: no tables) and have.

        All in one transaction: a crash leaves the old shape.

        Raises:
            InvalidRequest: a newer release wrote the records, or the database is made so that it cannot keep them.
        """
        with self.read() as tx:  # nobody waits for who writes, to find that all is as it should be
            stands = self._shape(tx)
        if stands == NEWEST_SHAPE:
            return stands, stands
        from restead.records import migrating  # Alembic takes a quarter of a second, which every command would wait

        with self.begin() as tx:
            stands = self._shape(tx)
            migrating.upgrade(tx.connection, stands)
            return stands, self._shape(tx)

    def _shape(self, tx: "Transaction") -> str | None:
        """Return which shape the tables have, None if there are none."""
        if self.on_server:
            postgres.check_database(tx.connection)
        if not sa.inspect(tx.connection).has_table(_SHAPE.name):
            return None
        stands: str | None = tx.connection.scalar(sa.select(_SHAPE.c.version_num))
        return stands

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Yield a writing transaction; durable when the block has ended without an exception.

        Raises:
            RecordsUnavailable: the database does not answer, is locked for too long, or has no space.
        """
        with self._in_turn(), _translated(), self.engine.begin() as connection:
            yield Transaction(connection, self._clock())

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let the writers of this process wait for each other here.

        SQLite only tries again, after up to 100 ms: beside two busy writers a third has waited for 23 s.  A database
        server has a queue.
        """
        if self.on_server:
            yield
            return
        if not self._turn.acquire(timeout=sqlite.BUSY_TIMEOUT / 1000):
            raise RecordsUnavailable(_NOT_NOW, detail="another transaction of this process has not ended")
        try:
            yield
        finally:
            self._turn.release()

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
    except sa.exc.TimeoutError as error:
        raise RecordsUnavailable(_NOT_NOW, detail=str(error)) from error
    except sa.exc.DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        # Of the database's own words only: the statement's values may be somebody's names.
        detail = f"{type(error.orig).__name__}: {error.orig}".strip()
        if isinstance(error, sa.exc.OperationalError) or error.connection_invalidated or state in _PASSING:
            why = _WHY.get(state or _sqlite_name(error.orig))
            raise RecordsUnavailable(f"{_NOT_NOW}: {why}" if why else _NOT_NOW, detail=detail) from error
        if type(error) is sa.exc.DatabaseError or state in _BROKEN:
            raise Damaged("the records are damaged", detail=detail) from error
        raise  # IntegrityError, ProgrammingError, …: a bug, not the database
    except json.JSONDecodeError as error:  # from a column's type, while a row was read
        raise Damaged("a row of the records cannot be read", detail=str(error)) from error


def _sqlite_name(error: BaseException | None) -> str:
    """Return SQLite's name of an error without what it adds to tell kinds apart: SQLITE_READONLY_DBMOVED is one."""
    return "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
