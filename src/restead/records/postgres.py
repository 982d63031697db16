"""Records on a server: PostgreSQL, for more than one machine.

SQLite lets one transaction write at a time, and what such a transaction has read cannot change before it writes.
Everything above is built on that: "is anything under way on this server?", then "insert the restore".  Here every
writing transaction takes one advisory lock of the database before anything else, so the same is true: nobody has to
be told that it lost a race and begin again, which the body of a `with` could not do.
"""

import sqlalchemy as sa

from restead.domain.errors import InvalidRequest

_WRITER = int.from_bytes(b"restead1", "big")  # the lock's number in its database; means nothing
_OPTIONS = {
    "lock_timeout": "30s",  # a transaction waits that long for another's lock before it is Unavailable
    "idle_in_transaction_session_timeout": "60s",  # a machine that vanished does not keep the lock
    "statement_timeout": "0",
    "timezone": "UTC",
    "synchronous_commit": "on",  # a commit is on the disk when it returns, whatever the server's own default
}
_CONNECTING = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
    "client_encoding": "utf8",
    "application_name": "restead",
}
_CONNECTIONS, _MORE_CONNECTIONS = 8, 52  # kept, and made when needed: more than requests and runs at once


def open_engine(url: sa.URL) -> sa.Engine:
    """Return the engine; connects to nothing yet.

    Raises:
        InvalidRequest: psycopg is not installed.
    """
    options = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
    usual = {**_CONNECTING, "options": options}
    try:
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={name: value for name, value in usual.items() if name not in url.query},
            pool_size=_CONNECTIONS,
            max_overflow=_MORE_CONNECTIONS,
            pool_pre_ping=True,  # after a restart of the server no request meets a dead connection
        )
    except ModuleNotFoundError as error:
        raise InvalidRequest("records on PostgreSQL need psycopg: pip install 'restead[postgres]'") from error
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def check_database(connection: sa.Connection) -> None:
    """Return if the database sorts and stores text as SQLite does.

    Names are listed in the same order on both, and an index cannot be out of order after an update of the C library.

    Raises:
        InvalidRequest: it must be made in another way; the message says how.
    """
    query = sa.text(
        "SELECT datname, datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    )
    name, collation, encoding = connection.execute(query).one()
    if (collation, encoding) not in (("C", "UTF8"), ("POSIX", "UTF8")):
        raise InvalidRequest(
            f"database {name} has locale {collation} and encoding {encoding}, the records need C and UTF8: "
            f"createdb --template=template0 --locale=C --encoding=UTF8 {name}"
        )


def _on_begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get("reading", False):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER)))
