"""How many backups there are: kept as numbers, and always what counting the rows would say."""

import random
from contextlib import suppress

import pytest
import sqlalchemy as sa
from tests.records.rows import P, Q, add_backup, server

from restead.domain.ids import BackupId, ProjectId
from restead.domain.listing import BackupFilter
from restead.domain.states import BACKUP, BackupState, Event
from restead.records import Records, Transaction, backups, checking, counts
from restead.records.tables import backup_counts
from restead.records.tables import backups as table


class _GivenUp(Exception):
    """Ends a transaction without a trace of it."""


def _some(tx: Transaction, chance: random.Random, number: int, there: dict[BackupId, BackupState]) -> None:
    """Make a backup, or move one by any event that leads out of its state."""
    events = [(id, event) for id, state in there.items() for source, event in BACKUP if source == state]
    if not events or chance.random() < 0.3:
        name = f"b{number}"
        backup = add_backup(tx, name, server(f"s-{name}", chance.choice((P, Q))), protected=chance.random() < 0.5)
        there[backup.id] = backup.state
    else:
        id, event = chance.choice(events)
        there[id] = backups.move(tx, id, event).state


def _by_rows(tx: Transaction, project: ProjectId | None, state: str | None) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(table.c.state != BackupState.DELETED)
    query = query if project is None else query.where(table.c.project_id == project)
    return int(tx.connection.scalar(query if state is None else query.where(table.c.state == state)) or 0)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_becomes_of_backups_their_number_is_that_of_their_rows(records: Records, seed: int) -> None:
    """Also when transactions are given up in between, which leave the numbers as they were."""
    chance, there = random.Random(seed), dict[BackupId, BackupState]()
    for number in range(40):
        tried = dict(there)
        with suppress(_GivenUp), records.begin() as tx:
            for part in range(chance.randrange(1, 4)):
                _some(tx, chance, number * 10 + part, tried)
            if chance.random() < 0.3:
                raise _GivenUp
            there = tried
        with records.read() as tx:
            assert list(counts.wrong(tx)) == []
    with records.read() as tx:
        for project in (None, P, Q):
            for state in (None, *BackupState, "no such state"):
                assert backups.count(tx, project, BackupFilter(status=state)) == _by_rows(tx, project, state)
    assert len(set(there.values())) >= 3


def test_what_is_counted_by_number_is_counted_by_rows_with_one_more_condition(records: Records) -> None:
    with records.begin() as tx:
        for number in range(3):
            add_backup(tx, f"b{number}")
        backups.move(tx, BackupId("b0"), Event.RESTORE)
        assert backups.count(tx, P, BackupFilter(status="available")) == 2
        assert backups.count(tx, P, BackupFilter(status="available", name="name-b1")) == 1


def test_a_wrong_number_is_found_and_stands_in_nobodys_way(records: Records) -> None:
    """A backup goes on being made, restored and deleted where numbers were lost."""
    with records.begin() as tx:
        id = add_backup(tx, "b").id
        tx.connection.execute(backup_counts.delete())
    with records.begin() as tx:
        backups.move(tx, id, Event.RESTORE)
        backups.move(tx, id, Event.RESTORED)
    found = f"table backup_counts: project {P} has 0 backups that are available, its rows make it 1"
    assert list(checking.findings(records))[-1:] == [found]
