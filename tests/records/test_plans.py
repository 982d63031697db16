"""The way SQLite takes for a project's lists: through indexes, whatever is asked, without rows that no page shows.

What it costs with a million backups is measured by `python -m benchmarks.lists`; here only the way is held.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from tests.lab import databases
from tests.records.rows import T0, P, add_backup

from restead.domain.ids import CheckpointId, ProjectId, ServerId
from restead.domain.listing import BackupFilter, Order, Window
from restead.records import Records, backups

_SORTS = ("created_at", "updated_at", "name", "status", "protected_at", "id")
_FILTERS = (
    BackupFilter(), BackupFilter(status="error"), BackupFilter(name="x"), BackupFilter(resource_name="x"),
    BackupFilter(resource_id=ServerId("s")), BackupFilter(checkpoint_id=CheckpointId("c")), BackupFilter(policy_id="p"),
    BackupFilter(zone="z"), BackupFilter(address="a"), BackupFilter(start=T0, end=T0),
    BackupFilter(status="error", name="x", zone="z", address="a"),
)  # fmt: skip
_NUMBERED = (BackupFilter(), BackupFilter(status="error"))  # counted without a look at any of them


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    with databases.empty("sqlite") as url:
        records = Records.open(url)
        with records.begin() as tx:
            add_backup(tx, "b")
        yield records
        records.close()


@contextmanager
def watched(records: Records) -> Iterator[list[str]]:
    """Yield the steps of the plans of all queries that are made inside, once they are made."""
    queries: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        queries.append((statement, parameters))

    steps: list[str] = []
    sa.event.listen(records.engine, "before_cursor_execute", note)
    yield steps
    sa.event.remove(records.engine, "before_cursor_execute", note)
    with records.read() as tx:
        for statement, parameters in queries:
            if statement.startswith(("SELECT", "WITH")):
                plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
                steps += [row[-1] for row in plan]


@pytest.mark.parametrize("wanted", _FILTERS, ids=str)
def test_every_condition_is_answered_by_an_index_alone(records: Records, wanted: BackupFilter) -> None:
    with watched(records) as listing, records.read() as tx:
        backups.list_backups(tx, P, wanted, Window(limit=50))
    with watched(records) as counting, records.read() as tx:
        backups.count(tx, P, wanted)
    assert all(step.startswith("SEARCH") for step in counting if "backups" in step)
    assert [step for step in listing + counting if step.startswith("SCAN")] == []
    chosen = [step for step in [*listing, *counting] if "SEARCH backups" in step and "(id=?)" not in step]
    assert len(chosen) >= (1 if wanted in _NUMBERED else 2)
    exact = wanted.resource_id or wanted.checkpoint_id  # few rows: each may be looked at
    assert exact or all("USING COVERING INDEX" in step for step in chosen), chosen


@pytest.mark.parametrize("project", [P, None])
@pytest.mark.parametrize("wanted", _NUMBERED, ids=str)
def test_what_is_kept_as_a_number_is_not_counted(
    records: Records, wanted: BackupFilter, project: ProjectId | None
) -> None:
    with watched(records) as steps, records.read() as tx:
        assert backups.count(tx, project, wanted) == (wanted.status is None)
    assert steps
    assert all("backup_counts" in step for step in steps)


@pytest.mark.parametrize("wanted", _FILTERS, ids=str)
def test_lists_of_all_projects_look_at_no_row_that_they_do_not_show(records: Records, wanted: BackupFilter) -> None:
    """They may read an index to its end, never the rows."""
    with watched(records) as steps, records.read() as tx:
        backups.list_backups(tx, None, wanted, Window(limit=50))
    exact = wanted.resource_id or wanted.checkpoint_id or wanted.policy_id
    chosen = [step for step in steps if "backups" in step and "volume_backups" not in step and "(id=?)" not in step]
    assert chosen
    assert exact or all("USING COVERING INDEX" in step for step in chosen), chosen


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", _SORTS)
def test_a_page_begins_at_its_marker(records: Records, key: str, descending: bool) -> None:
    """The order is the index's own, so nothing before the marker is read, and no more than the page behind it."""
    with watched(records) as steps, records.read() as tx:
        backups.list_backups(tx, P, BackupFilter(), Window(marker="b", limit=50, order=(Order(key, descending),)))
    (chosen,) = [step for step in steps if "project_id=?" in step]
    column = {"status": "state", "protected_at": "protected_or_never"}.get(key, key)
    beyond = "<" if descending else ">"
    assert (f"AND id{beyond}?" if key == "id" else f"AND ({column},id){beyond}(?,?)") in chosen
    # Only the page itself is sorted, outside: its rows are fetched in the order of their ids.
    assert steps.index(chosen) == steps.index("LIST SUBQUERY 1") + 1
    assert steps[steps.index(chosen) + 1 :] in ([], ["USE TEMP B-TREE FOR ORDER BY"])
