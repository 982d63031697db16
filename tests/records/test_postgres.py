"""What is PostgreSQL's own: how its databases must be made, and what its weather does to us."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.lab import databases
from tests.lab.postgres import Cluster
from tests.records.rows import add_backup

from restead.domain.errors import Damaged, InvalidRequest
from restead.domain.listing import BackupFilter
from restead.records import Records, RecordsUnavailable, Transaction, backups, stock
from restead.records.tables import runs as run_table

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that these tests may stop, and what they do to it."""
    with Cluster.running() as cluster:
        databases.migrate(cluster.create("one"))
        yield cluster


@pytest.fixture
def records(cluster: Cluster) -> Iterator[Records]:
    records = Records.open(cluster.url("one"))
    yield records
    records.close()
    cluster.do("DELETE FROM volume_backups; DELETE FROM backups; DELETE FROM checkpoints; "
               "DELETE FROM runs; DELETE FROM operations; DELETE FROM backup_counts", "one")  # fmt: skip


def count(records: Records) -> int:
    with records.read() as tx:
        return backups.count(tx, None, BackupFilter())


def write(records: Records, id: str) -> None:
    with records.begin() as tx:
        add_backup(tx, id)


@pytest.mark.parametrize(
    ("how", "named"), [("UTF8' LOCALE 'C.UTF-8", "C.UTF-8"), ("SQL_ASCII' LOCALE 'C", "SQL_ASCII")]
)
def test_a_database_that_sorts_otherwise_is_refused(cluster: Cluster, how: str, named: str) -> None:
    """Names would come in another order than on SQLite, and with the next C library in yet another."""
    cluster.do(f"CREATE DATABASE odd TEMPLATE template0 ENCODING '{how}'")
    with pytest.raises(InvalidRequest, match=rf"{named}.*createdb --template=template0 --locale=C --encoding=UTF8 odd"):
        databases.migrate(cluster.url("odd"))
    assert cluster.do("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "odd") == [(0,)]
    cluster.drop("odd")


def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidRequest, match=r"restead\[postgres\]"):
        Records.open("postgresql://u@h/d")


def test_a_server_that_is_not_there_is_unavailable(cluster: Cluster, records: Records) -> None:
    write(records, "before")
    cluster.stop()
    try:
        for attempt in (lambda: write(records, "x"), lambda: count(records), records.migrate):
            with pytest.raises(RecordsUnavailable):
                attempt()
    finally:
        cluster.start()
    write(records, "after")
    assert count(records) == 2


def test_a_restart_between_transactions_is_not_noticed(cluster: Cluster, records: Records) -> None:
    """Every connection that was kept is dead; none of them is used."""
    at_once(lambda number: count(records), 6)
    cluster.restart()
    at_once(lambda number: count(records), 6)
    write(records, "after")
    assert count(records) == 1


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_inside_a_transaction_leaves_nothing_of_it(cluster: Cluster, records: Records, how: str) -> None:

    def be_cut_off(rest: Callable[[Transaction], object]) -> None:
        with records.begin() as tx:
            add_backup(tx, "b")
            cluster.stop(how)
            cluster.start()
            rest(tx)

    for rest in (lambda tx: add_backup(tx, "c"), lambda tx: None):
        with pytest.raises(RecordsUnavailable):
            be_cut_off(rest)
    assert count(records) == 0
    write(records, "b")


def test_a_read_only_database_can_be_read(cluster: Cluster, records: Records) -> None:
    """As a standby is, or a server that ran out of space and was put aside."""
    write(records, "before")
    cluster.do("ALTER DATABASE one SET default_transaction_read_only = on")
    records.engine.dispose()
    with pytest.raises(RecordsUnavailable):
        write(records, "x")
    assert count(records) == 1
    cluster.do("ALTER DATABASE one SET default_transaction_read_only = off")
    records.engine.dispose()
    write(records, "after")
    assert count(records) == 2


def test_a_server_without_free_connections_is_unavailable(cluster: Cluster, records: Records) -> None:
    cluster.do("ALTER DATABASE one CONNECTION LIMIT 0")
    cluster.do("CREATE ROLE guest LOGIN")
    other = Records.open(cluster.url("one").replace("restead@", "guest@"))
    try:
        with pytest.raises(RecordsUnavailable):
            count(other)
    finally:
        cluster.do("ALTER DATABASE one CONNECTION LIMIT -1")
        cluster.do("DROP ROLE guest")
        other.close()


def test_a_writer_that_vanished_holds_nobody_up_for_ever(cluster: Cluster, records: Records) -> None:
    """Its session is ended by the server, and its own next word meets that."""
    slow = Records.open(f"{cluster.url('one')}&options=-c%20idle_in_transaction_session_timeout%3D300ms")

    def vanish() -> None:
        with slow.begin() as tx:
            add_backup(tx, "lost")
            write(records, "kept")  # waits until the server has ended the other
            tx.connection.execute(sa.select(run_table.c.id))

    with pytest.raises(RecordsUnavailable):
        vanish()
    assert count(records) == 1
    slow.close()


def test_who_waits_too_long_for_the_writer_gives_up(cluster: Cluster, records: Records) -> None:
    hasty = Records.open(f"{cluster.url('one')}&options=-c%20lock_timeout%3D100ms")
    with records.begin() as tx:
        add_backup(tx, "b")
        with pytest.raises(RecordsUnavailable):
            write(hasty, "c")
    write(hasty, "c")
    assert count(records) == 2
    hasty.close()


def test_a_broken_page_is_damage(cluster: Cluster, records: Records) -> None:
    """What the server says of its own files is not a matter of trying again."""
    raise_it = "DO $$ BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'XX001'; END $$"
    with pytest.raises(Damaged), records.begin() as tx:
        tx.connection.exec_driver_sql(raise_it)


def test_two_processes_reserve_no_server_twice_and_tell_no_run_twice(cluster: Cluster, records: Records) -> None:
    """Each tries to begin a backup of each of 40 servers, and claims runs until none is left."""
    program = textwrap.dedent(
        """
        import sys
        from datetime import timedelta
        from tests.records.rows import P, add_backup, server
        from restead.records import Records, runs, servers
        records, begun, claimed = Records.open(sys.argv[1]), [], []
        for number in range(40):
            with records.begin() as tx:
                if servers.under_way(tx, P, f"s{number}") is None:
                    add_backup(tx, f"b{number}-{sys.argv[2]}", server(f"s{number}"), protected=False)
                    begun.append(f"s{number}")
        while True:
            with records.begin() as tx:
                claim = runs.claim(tx, sys.argv[2], timedelta(seconds=60))
            if claim is None:
                break
            claimed.append(claim.run_id)
        print(*begun, "|", *claimed)
        """
    )
    command = [sys.executable, "-c", program, cluster.url("one")]
    environment = {"PYTHONPATH": str(ROOT)}
    working = [subprocess.Popen([*command, name], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
               for name in "xyz"]  # fmt: skip
    told = [process.communicate(timeout=120)[0].split("|") for process in working]
    begun = [server for begun, _ in told for server in begun.split()]
    claimed = [run for _, claimed in told for run in claimed.split()]
    assert sorted(begun) == sorted(f"s{number}" for number in range(40))
    with records.read() as tx:
        assert sorted(claimed) == sorted(tx.connection.scalars(sa.select(run_table.c.id)))
    assert len(claimed) == 40


def at_once(do: Callable[[int], object], count: int) -> None:
    barrier = threading.Barrier(count)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            do(number)
        except BaseException as error:  # noqa: BLE001  told by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_disks_are_fetched_in_parts_not_all_at_once(cluster: Cluster, records: Records) -> None:
    """While a million are taken in the server is asked again and again, and does not take us for dead."""
    write(records, "b")
    with records.read() as tx:
        disks = stock.named(tx)
        first = next(disks)
        asked = cluster.do("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert [first.backup_id, *(each.backup_id for each in disks)] == ["b", "b"]
    assert len(asked) == 1
    assert str(asked[0][0]).startswith("FETCH")
