"""The database itself: shape, durability, isolation, errors."""

import stat
import threading
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.records.older import set_back
from tests.records.rows import T0, add_backup, add_restore, server

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.domain.ids import RestoreId, ServerId
from restead.domain.listing import BackupFilter
from restead.domain.restore import RestorePlan
from restead.domain.states import BackupState
from restead.records import Records, Transaction, backups, restores
from restead.records.database import NEWEST_SHAPE
from restead.records.encoding import build, plain
from restead.records.migrating import migrations
from restead.records.tables import backup_traits, metadata
from restead.records.tables import backups as backup_table


def test_the_migrations_make_the_tables_as_they_are_declared(records: Records) -> None:
    with records.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx.connection), metadata) == []
        indexes = sa.inspect(tx.connection).get_indexes("restores")
    only_one = next(index for index in indexes if index["name"] == "uq_restores_under_way")
    assert only_one["unique"]
    assert "in_progress" in str(only_one["dialect_options"][f"{records.engine.dialect.name}_where"])


def test_the_newest_shape_is_that_of_the_last_migration() -> None:
    assert ScriptDirectory.from_config(migrations()).get_heads() == [NEWEST_SHAPE]


def test_migrating_again_changes_nothing(records: Records) -> None:
    with records.begin() as tx:
        add_backup(tx, "b")
    records.migrate()
    with records.read() as tx:
        assert backups.backup(tx, server().project_id, "b").id == "b"


_all_backups = sa.select(backup_table).order_by(backup_table.c.id)
_all_traits = sa.select(backup_traits).order_by(*backup_traits.c)


def test_backups_of_an_older_release_are_sorted_counted_and_found_as_before(records: Records) -> None:
    """What lists and quotas read from columns of their own is filled in from the rows that are there."""
    with records.begin() as tx:
        add_backup(tx, "done", protected_at=T0)
        add_backup(tx, "begun", server("s2"), protected=False)
        kept = [dict(row) for row in tx.connection.execute(_all_backups).mappings()]
        before = backups.usage(tx, server().project_id)
        counted = [backups.count(tx, None, BackupFilter(status=state)) for state in BackupState]
        traits = tx.connection.execute(_all_traits).all()
        set_back(tx, "target_identity")
    records.migrate()
    with records.read() as tx:
        assert backups.usage(tx, server().project_id) == before == (2, 200)
        assert [dict(row) for row in tx.connection.execute(_all_backups).mappings()] == kept
        assert [backups.count(tx, None, BackupFilter(status=state)) for state in BackupState] == counted
        assert tx.connection.execute(_all_traits).all() == traits != []


def test_records_of_a_newer_release_are_refused(records: Records) -> None:
    with records.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InvalidRequest, match="9999"):
        records.migrate()


def test_a_commit_is_synchronous(records: Records) -> None:
    how = "SHOW {}" if records.on_server else "PRAGMA {}"
    wanted: dict[str, object] = {"synchronous": 2, "journal_mode": "wal"}
    with records.begin() as tx:
        wanted = {"synchronous_commit": "on"} if records.on_server else wanted
        found = {name: tx.connection.exec_driver_sql(how.format(name)).scalar() for name in wanted}
    assert found == wanted


def test_a_row_needs_what_it_belongs_to(records: Records) -> None:
    with pytest.raises(sa.exc.IntegrityError), records.begin() as tx:
        add_backup(tx, "b", checkpoint="no such checkpoint")


def test_who_reads_sees_one_moment(records: Records) -> None:
    """Also in the middle of reading, when somebody else has written."""

    def count(tx: Transaction) -> int:
        return backups.count(tx, None, BackupFilter())

    with records.read() as reading:
        assert count(reading) == 0
        with records.begin() as writing:
            add_backup(writing, "b")
        assert count(reading) == 0
    with records.read() as reading:
        assert count(reading) == 1


@pytest.mark.parametrize("address", ["", "records", "mysql://u:secret@h/d", "postgresql:/u:secret@h", "sqlite+x:///f"])
def test_an_address_of_no_database_that_we_know_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Records.open(address)
    assert "secret" not in str(refused.value)


def test_the_files_are_private(tmp_path: Path) -> None:
    records = Records.open(f"sqlite:///{tmp_path}/r.db")
    records.migrate()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    records.close()


def test_an_exception_leaves_nothing_of_its_transaction(records: Records) -> None:
    def fail_in_the_middle() -> None:
        with records.begin() as tx:
            add_backup(tx, "b")
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_middle()
    with records.read() as tx:
        assert backups.count(tx, None, BackupFilter()) == 0


def test_a_check_and_the_change_that_follows_are_one(records: Records) -> None:
    """Eight threads each add a backup if there are fewer than three: there are never more."""

    def add(number: int) -> None:
        with records.begin() as tx:
            if backups.count(tx, None, BackupFilter()) < 3:
                add_backup(tx, f"b{number}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with records.read() as tx:
        assert backups.count(tx, None, BackupFilter()) == 3


def test_writers_of_one_process_wait_for_each_other(tmp_path: Path) -> None:
    """They do not ask the file again and again, where chance decides: one waited for 23 s beside two busy ones."""
    records = Records.open(f"sqlite:///{tmp_path / 'records.db'}")
    records.migrate()
    asked: list[str] = []

    def write() -> None:
        with records.begin():
            """Its turn has come."""

    sa.event.listen(records.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: asked.append(text))
    with records.begin():
        second = threading.Thread(target=write)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert asked == ["BEGIN IMMEDIATE"]
    second.join()
    records.close()
    assert asked == ["BEGIN IMMEDIATE"] * 2


def test_one_backup_and_one_restore_of_a_server_at_a_time(records: Records) -> None:
    """Whatever the code above believes: the index refuses."""
    with records.begin() as tx:
        backup = add_backup(tx, "b1")
        add_backup(tx, "b2", server(), protected=False)
    with pytest.raises(sa.exc.IntegrityError), records.begin() as tx:
        add_backup(tx, "b3", server(), protected=False)
    with records.begin() as tx:
        add_restore(tx, "r1", backup)
    with pytest.raises(sa.exc.IntegrityError), records.begin() as tx:
        add_restore(tx, "r2", backup)


def test_a_database_that_is_none_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_bytes(b"this is no database" * 100)
    records = Records.open(f"sqlite:///{tmp_path}/r.db")
    with pytest.raises(Damaged):
        records.migrate()
    records.close()


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    records = Records.open(f"sqlite:///{tmp_path}/r.db")
    (tmp_path / "r.db").unlink()
    (tmp_path / "r.db").mkdir()
    with pytest.raises(Unavailable):
        records.migrate()


def test_a_plan_comes_back_as_it_was_stored(records: Records) -> None:
    """Dataclasses, enums, tuples, numbers beyond 32 bits, and what a driver wrote down."""
    onto = server("t", memory=2**40, zone="z")
    with records.begin() as tx:
        restore = add_restore(tx, "r", add_backup(tx, "b"), onto)
    with records.read() as tx:
        assert restores.plan(tx, restore.id).server == onto
        assert restores.restore(tx, onto.project_id, restore.id) == restore


def test_times_are_aware_and_exact(records: Records) -> None:
    at = datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=UTC)
    with records.begin() as tx:
        backup = add_backup(tx, "b", protected_at=at)
    assert (backup.created_at, backup.protected_at) == (T0, T0)
    with records.read() as tx:
        assert backups.backup(tx, backup.project_id, backup.id).created_at.utcoffset() is not None


@dataclass(frozen=True)
class _Newer:
    id: ServerId
    added: int = 7


def test_a_row_of_an_older_release_takes_the_defaults() -> None:
    assert build(_Newer, {"id": "s"}) == _Newer(ServerId("s"), 7)


def test_every_member_of_a_plan_survives_json() -> None:
    """A field of a type that the encoding does not know would come back as something else."""

    def kinds(value: object) -> object:
        if isinstance(value, tuple):
            return [kinds(item) for item in value]
        if hasattr(value, "__dataclass_fields__"):
            return {field.name: kinds(getattr(value, field.name)) for field in fields(value)}  # type: ignore[arg-type]
        return type(value) if isinstance(value, Enum | int | str | dict) else value

    before = server()
    after = build(type(before), plain(before))
    assert (kinds(after), after) == (kinds(before), before)
    assert RestorePlan.__dataclass_fields__.keys() == {"backup_id", "checkpoint_id", "server", "volumes", "power_on"}


@pytest.mark.parametrize("broken", ["{", "[1]", '{"server": 7}', '{"no such member": 1}'])
def test_a_row_that_cannot_be_read_is_damaged(records: Records, broken: str) -> None:
    """Not a bug, which would end the thread that met it."""
    with records.begin() as tx:
        add_restore(tx, "r", add_backup(tx, "b"))
        plan = "CAST(:plan AS json)" if records.on_server else ":plan"
        if records.on_server and broken == "{":
            return  # its type for JSON takes no such text
        tx.connection.execute(sa.text(f"UPDATE restores SET plan = {plan}"), {"plan": broken})
    with pytest.raises(Damaged, match="row of the records"), records.read() as tx:
        restores.plan(tx, RestoreId("r"))


def test_records_that_are_read_only_are_read_and_say_so(tmp_path: Path) -> None:
    """As their file is on a medium that failed; the statement and its values are in no message."""
    records = Records.open(f"sqlite:///{tmp_path}/records.sqlite")
    records.migrate()
    with records.begin() as tx:
        add_backup(tx, "before")
    with records.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(Unavailable, match="they are read-only") as refused, records.begin() as tx:
        add_backup(tx, "somebody's name")
    assert "somebody" not in refused.value.detail
    assert "INSERT" not in refused.value.detail
    with records.read() as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(backup_table)) == 1
    records.engine.dispose()
    with records.begin() as tx:
        add_backup(tx, "after")
    records.close()
