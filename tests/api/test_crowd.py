"""Many callers at the same moment, and records that cannot be written for a while."""

from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from tests.api.front import MIB, Front

from restead.domain.run import RunKind, RunState
from restead.domain.states import RestoreState
from restead.records.tables import restores, runs

_SERVERS = 200


@pytest.mark.long_on_postgres
def test_two_hundred_servers_are_restored_at_once_and_none_of_them_twice(front: Front) -> None:
    """Each is asked for twice in the same moment; one is accepted, durably, and the other refused."""
    bodies = []
    for number in range(_SERVERS):
        server = front.server(MIB, name=f"web-{number}")
        bodies.append(front.restore_body(front.backup_of(server), server))
    answers = front.at_once([("POST", "/restores", body) for body in [*bodies, *bodies]])
    assert Counter(answer.status for answer in answers) == {200: _SERVERS, 400: _SERVERS}
    refused = [answer for answer in answers if answer.status == 400]
    assert all(answer.code == "CSBS.4000" and "restoring" in answer.message for answer in refused), refused[0].json
    accepted = {answer.json["restore"]["id"] for answer in answers if answer.status == 200}
    with front.records.read() as tx:
        rows = list(tx.connection.execute(sa.select(restores.c.id, restores.c.server_key, restores.c.run_id)
                                          .where(restores.c.state == RestoreState.IN_PROGRESS)))  # fmt: skip
        promised = set(tx.connection.scalars(
            sa.select(runs.c.id).where(runs.c.kind == RunKind.RESTORE, runs.c.state == RunState.WAITING)
        ))  # fmt: skip
    assert {row.id for row in rows} == accepted
    assert len({row.server_key for row in rows}) == len(rows) == _SERVERS
    assert {row.run_id for row in rows} == promised == set(front.submitted[-_SERVERS:])


def _full(connection: sa.Connection) -> None:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def _roomy(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count=4294967294")


def _read_only(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only=ON")


def _writable(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only=OFF")


@pytest.mark.parametrize(
    ("fail", "mend"), [(_full, _roomy), (_read_only, _writable)], ids=["full", "read-only"]
)
def test_while_the_file_cannot_be_written_it_is_read_and_writing_is_for_later(
    front: Front, fail: Callable[[sa.Connection], None], mend: Callable[[sa.Connection], None]
) -> None:
    """503 and when to come again; nothing of what was refused is left; afterwards it works."""
    if front.records.on_server:
        return  # tests/app/test_database.py does this to a server
    server = front.server(MIB)
    backup = front.backup_of(server)
    weather = sa.event.listens_for(front.records.engine, "begin")(fail)
    seen = []
    for _ in range(400):  # until the last free page of the file is used
        answer = front.protect(front.server(MIB))
        seen.append(answer.status)
        if answer.status == 503:
            break
    assert (answer.status, answer.headers["retry-after"].isdecimal(), answer.code) == (503, True, "CSBS.9998")
    assert front.get(f"/checkpoint_items/{backup.id}").status == 200
    count = front.get("/checkpoint_items/count").json["count"]
    assert count == seen.count(200) + 1
    sa.event.remove(front.records.engine, "begin", weather)
    sa.event.listen(front.records.engine, "begin", mend)
    assert front.protect(front.server(MIB)).status == 200
    assert front.post("/restores", front.restore_body(backup, server)).status == 200
