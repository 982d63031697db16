"""What `restead db check` finds: each kind of harm, and nothing in records that are whole."""

import pytest
import sqlalchemy as sa
from tests.records.rows import P, add_backup, add_restore, server

from restead.domain.ids import RunId
from restead.domain.run import RunKind
from restead.domain.states import Event
from restead.records import Records, backups, checking, deletions, runs


@pytest.fixture
def whole(records: Records) -> Records:
    """Records with something in every state."""
    with records.begin() as tx:
        add_backup(tx, "making", server("s1"), protected=False)
        restoring = add_backup(tx, "restoring", server("s2"))
        backups.move(tx, restoring.id, Event.RESTORE)
        add_restore(tx, "r", restoring)
        runs.enqueue(tx, RunId("run-r"), RunKind.RESTORE, "r", P)
        deletions.promise(tx, add_backup(tx, "deleting", server("s3")))
        add_backup(tx, "there", server("s4"))
    return records


def test_whole_records_are_whole(whole: Records) -> None:
    assert list(checking.findings(whole)) == []


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE runs SET state = 'done' WHERE id = 'run-r'",
         ["table restores: r is in_progress, and no run of it is left"]),
        ("UPDATE runs SET state = 'done' WHERE id = 'run-making'",
         ["table backups: making is protecting, and no run of it is left"]),
        ("UPDATE runs SET state = 'done' WHERE kind = 'delete'",
         ["table backups: deleting is deleting, and no run of it is left"]),
        ("UPDATE restores SET state = 'fail'",
         ["table backups: restoring is restoring, and no restore of it is under way"]),
        ("UPDATE checkpoints SET state = 'error' WHERE id = 'c-there'",
         ["table checkpoints: c-there is error, its backups make it available"]),
        ("UPDATE backups SET consistency_wanted = '', state = 'lost' WHERE id = 'there'",
         ["table backups: row there cannot be read: 'lost' is not a valid BackupState"]),
        ("UPDATE restores SET request = '{\"a\": 1}'",
         ["table restores: row r cannot be read: a row of the records holds no RestoreRequest"]),
        ("UPDATE backup_counts SET number = 7 WHERE state = 'deleting'",
         ["table backup_counts: project p has 7 backups that are deleting, its rows make it 1"]),
        ("INSERT INTO backup_counts (project_id, state, number) VALUES ('gone', 'error', 2)",
         ["table backup_counts: project gone has 2 backups that are error, its rows make it 0"]),
        ("DROP INDEX uq_restores_under_way", ["the tables are not as this release makes them: <…>"]),
        ("ALTER TABLE tokens ADD COLUMN more TEXT", ["the tables are not as this release makes them: <…>"]),
    ],
)  # fmt: skip
def test_harm_is_found(whole: Records, harm: str, found: list[str]) -> None:
    with whole.begin() as tx:
        tx.connection.execute(sa.text(harm.replace(": 1", r"\: 1")))
    findings = list(checking.findings(whole))
    assert len(findings) == len(found), findings
    for finding, expected in zip(findings, found, strict=True):
        assert finding.startswith(expected.removesuffix("<…>"))


def test_a_row_that_belongs_to_nothing_is_found(whole: Records) -> None:
    if whole.on_server:
        return  # it lets nobody in who could make one
    with whole.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("DELETE FROM backups WHERE id = 'there'")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    found = list(checking.findings(whole))
    *disks, counted = found
    assert len(disks) == 2
    assert all("volume_backups" in each and "belongs to a row of backups that is not there" in each for each in disks)
    assert counted == "table backup_counts: project p has 1 backups that are available, its rows make it 0"
