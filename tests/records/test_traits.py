"""What is searched for in all projects at once: whatever narrows the search, it finds what is there."""

import random
from dataclasses import replace

import pytest
import sqlalchemy as sa
from tests.records.rows import P, add_backup, server

from restead.domain.backup import Backup
from restead.domain.ids import BackupId, ProjectId
from restead.domain.listing import BackupFilter, Order, Window
from restead.domain.states import Event
from restead.records import Records, Transaction, backups, checking, traits
from restead.records.tables import backup_traits

_PROJECTS = [ProjectId(f"p{number}") for number in range(10)]  # more than a search asks one by one
_SYLLABLES = ("nig", "htl", "ÄÖÜ", "ßen", "web", "-", "db", "7", "%", "_", "\\", "'")
_ZONES = ("", "east", "west-1")


def _name(chance: random.Random) -> str:
    return "".join(chance.choices(_SYLLABLES, k=chance.randrange(1, 4)))


def _backup(tx: Transaction, chance: random.Random, number: int) -> None:
    """In few projects most, so that there are names which stand in some of them alone."""
    project = _PROJECTS[int(chance.random() ** 2 * len(_PROJECTS))]
    private, public = (f"10.0.0.{chance.randrange(9)}" for _ in range(2))
    on = server(f"s{number}", project, 1, name=_name(chance), zone=chance.choice(_ZONES), private_address=private,
                public_address=public)  # fmt: skip
    made = add_backup(tx, f"b{number}", on, name=_name(chance), protected=chance.random() < 0.5)
    if made.protected_at and chance.random() < 0.3:
        later = replace(on, name=_name(chance), zone=chance.choice(_ZONES))
        backups.move(tx, made.id, Event.RESTORE, lambda row: replace(row, name=_name(chance), server=later))
    elif made.protected_at and chance.random() < 0.3:
        backups.move(tx, backups.move(tx, made.id, Event.DELETE).id, Event.DELETED)


def _wanted(chance: random.Random) -> BackupFilter:
    def some(value: str) -> str | None:
        return value if chance.random() < 0.4 else None

    return BackupFilter(
        name=some(_name(chance)), resource_name=some(_name(chance).upper()), zone=some(chance.choice((*_ZONES, "no"))),
        address=some(f"10.0.0.{chance.randrange(10)}"), status=some(chance.choice(("available", "protecting", "no"))),
    )  # fmt: skip


def _everywhere(tx: Transaction, wanted: BackupFilter, limit: int = 1000) -> list[BackupId]:
    return [each.id for each in backups.list_backups(tx, None, wanted, Window(limit, order=(Order("id"),))).items]


@pytest.mark.parametrize("seed", range(2))
def test_a_search_of_all_projects_finds_what_one_of_each_finds(records: Records, seed: int) -> None:
    chance, found = random.Random(seed), 0
    with records.begin() as tx:
        for number in range(60):
            _backup(tx, chance, number)
        assert list(traits.missing(tx)) == []
        for _ in range(40):
            wanted = _wanted(chance)
            each = [
                backup.id
                for project in _PROJECTS
                for backup in backups.list_backups(tx, project, wanted, Window()).items
            ]
            assert _everywhere(tx, wanted) == sorted(each, reverse=True), wanted
            assert backups.count(tx, None, wanted) == len(each), wanted
            assert _everywhere(tx, wanted, limit=2) == sorted(each, reverse=True)[:2], wanted
            found += 0 < len(each) < 60
    assert found > 8


def test_what_stands_nowhere_is_known_without_a_look_at_backups(records: Records) -> None:
    with records.begin() as tx:
        add_backup(tx, "b", name="Nightly")
        nowhere = (
            BackupFilter(name="weekly"), BackupFilter(zone="moon"), BackupFilter(status="deleting"),
            BackupFilter(address="192.0.2.1"), BackupFilter(name="night", resource_name="nowhere"),
        )  # fmt: skip
        for wanted in nowhere:
            (condition,) = traits.narrowed(tx, wanted)
            assert isinstance(condition, sa.False_), wanted
        assert traits.narrowed(tx, BackupFilter(name="we")) == ()  # two letters are no trait
        (condition,) = traits.narrowed(tx, BackupFilter(name="NIGHT"))
        assert not isinstance(condition, sa.False_)


def test_a_part_of_hundreds_of_letters_is_found(records: Records) -> None:
    name = "".join(chr(0x4E00 + number) for number in range(255))
    with records.begin() as tx:
        id = add_backup(tx, "b", name=name).id
        assert _everywhere(tx, BackupFilter(name=name)) == [id]
        assert _everywhere(tx, BackupFilter(name=name + "!")) == []


def test_a_trait_that_is_missing_is_found_by_the_check_and_hides_from_no_project(records: Records) -> None:
    def found(project: ProjectId | None) -> tuple[Backup, ...]:
        return backups.list_backups(tx, project, BackupFilter(name="nightly"), Window()).items

    with records.begin() as tx:
        add_backup(tx, "b", name="Nightly")
        tx.connection.execute(backup_traits.delete().where(backup_traits.c.trait == "name ght"))
        assert len(found(P)) == 1
        assert found(None) == ()
    line = f"table backup_traits: 'name ght' of project {P} is missing, by which its backups are found"
    assert list(checking.findings(records))[-1:] == [line]
