"""Records moved from one database to another: all of them, as they were, or none."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.lab import databases, rows
from tests.records.rows import Clock, P, add_backup, add_restore, server

from restead.domain.errors import Damaged, InvalidRequest
from restead.domain.ids import ManifestId, RunId, VolumeId
from restead.domain.known import KnownDisk
from restead.domain.notice import Matter, Outcome, Recipient
from restead.domain.run import Told
from restead.records import Records, Tokens, backups, checking, copying, deliveries, events, known, notices, restores
from restead.records.tables import metadata

WAYS = [(one, other) for one in ("sqlite", "postgresql") for other in ("sqlite", "postgresql")]


@pytest.fixture(params=WAYS, ids="-to-".join)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Records, Records]]:
    """Two databases, the first with a row in most tables."""
    with databases.empty(request.param[0]) as first, databases.empty(request.param[1]) as second:
        source, target = Records.open(first, clock=Clock()), Records.open(second, clock=Clock())
        fill(source)
        yield source, target
        source.close()
        target.close()


def fill(records: Records) -> None:
    with records.begin() as tx:
        for number in range(5):
            backup = add_backup(tx, f"b{number}", server(f"s{number}", name="Ünï ☃ \\ ' \" %s :x"))
            backups.set_hold(tx, backup.id, tx.now)
            restore = add_restore(tx, f"r{number}", backup)
            restores.give_up(tx, restore.id, 0, [(2**40, 512)])
            for at in range(3):
                events.add(tx, RunId(f"run-b{number}"), Told.PROGRESS, done=at, rate=2**53, share=0.1, text="\u2028")
        restores.throttle_all(tx, 2**62)
        notices.heard(tx, Matter.COLLECTION, Outcome.FAILED, {"code": "", "reason": "\u2028"})
        deliveries.route(tx, [Recipient("ops")])
        known.note(tx, P, VolumeId("v"), KnownDisk(ManifestId("m"), "root", "generation"))
    Tokens(records).create("p")


def test_every_row_is_there_as_it_was(pair: tuple[Records, Records]) -> None:
    source, target = pair
    told: dict[str, int] = {}
    copying.copy_rows(source, target, told.__setitem__)
    assert rows.everything(target) == rows.everything(source)
    assert told == {name: len(each) for name, each in rows.everything(source).items()}
    assert told.keys() == {table.name for table in metadata.sorted_tables}
    assert sum(count > 0 for count in told.values()) >= 8
    assert list(checking.findings(target)) == list(checking.findings(source))


def test_life_goes_on_there(pair: tuple[Records, Records]) -> None:
    """New events get numbers behind those that came along."""
    source, target = pair
    copying.copy_rows(source, target, lambda *_: None)
    with target.read() as tx:
        last = max(event.id for event in events.story(tx, RunId("run-b4")))
    with target.begin() as tx:
        events.add(tx, RunId("run-b0"), Told.END)
        add_backup(tx, "new")
    with target.read() as tx:
        assert events.story(tx, RunId("run-b0"))[-1].id > last


def test_into_records_that_have_rows_nothing_is_copied(pair: tuple[Records, Records]) -> None:
    source, target = pair
    Tokens(target).create("q")
    before = rows.everything(target)
    with pytest.raises(InvalidRequest, match="rows already, in table tokens"):
        copying.copy_rows(source, target, lambda *_: None)
    assert rows.everything(target) == before


def test_a_copy_that_reads_otherwise_is_not_kept(pair: tuple[Records, Records]) -> None:
    """Whatever changes a value on its way."""
    source, target = pair

    @sa.event.listens_for(target.engine, "after_cursor_execute")
    def change(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO tokens"):
            connection.exec_driver_sql("UPDATE tokens SET ending = 'abcd'")

    with pytest.raises(Damaged, match="table tokens"):
        copying.copy_rows(source, target, lambda *_: None)
    assert not any(rows.everything(target).values())


def test_what_a_server_cannot_keep_is_named(pair: tuple[Records, Records]) -> None:
    source, target = pair
    if source.on_server or not target.on_server:
        return  # PostgreSQL keeps no NUL in a text, so it has none to give
    with source.begin() as tx:
        tx.connection.execute(sa.text("UPDATE checkpoints SET plan_name = :name"), {"name": "a\0b"})
    with pytest.raises(InvalidRequest, match="a row of table checkpoints cannot be kept there; nothing was copied"):
        copying.copy_rows(source, target, lambda *_: None)
    assert not any(rows.everything(target).values())
