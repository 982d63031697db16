"""Rows of how fast running servers may be read: each of them, and all together."""

import sqlalchemy as sa

from restead.domain.ids import ProjectId, ServerId, canonical_id
from restead.records.database import Transaction
from restead.records.tables import throttles

_ALL = "running servers"


def throttle(tx: Transaction, server: tuple[ProjectId, ServerId] | None, bytes_per_second: int | None) -> None:
    """Let that server, or with None all together, be read that fast at most while it runs; None: as fast as it goes."""
    name = _name(server)
    tx.connection.execute(throttles.delete().where(throttles.c.name == name))
    if bytes_per_second is not None:
        tx.connection.execute(throttles.insert().values(name=name, bytes_per_second=bytes_per_second))


def paces(tx: Transaction, project_id: ProjectId, server_id: ServerId) -> tuple[int | None, int | None]:
    """Return the bytes per second of that server, and of all together.  Cheap."""
    names = (_name((project_id, server_id)), _ALL)
    found = {row.name: row.bytes_per_second
             for row in tx.connection.execute(sa.select(throttles).where(throttles.c.name.in_(names)))}  # fmt: skip
    return found.get(names[0]), found.get(_ALL)


def _name(server: tuple[ProjectId, ServerId] | None) -> str:
    return _ALL if server is None else f"{_ALL}/{server[0]}/{canonical_id(server[1])}"
