"""Verification as the service does it: in rows, backup by backup, regularly, and slowly if that is asked."""

import random
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.house import PROJECT, House
from tests.repository.harm import some_things, spoil

from restead.domain.backup import Backup
from restead.domain.errors import Unavailable
from restead.domain.ids import new_id
from restead.domain.notice import Matter
from restead.domain.restore import KnownLost, Mapping, RestoreRequest, VolumePlan
from restead.domain.states import RestoreState
from restead.domain.verification import Depth, Verification, VerificationState
from restead.records import notices, utc_now, verifications
from restead.workflows.verify import Pace, Regularly, Verifier, warnings_of


def test_what_is_damaged_is_kept_backup_by_backup(house: House) -> None:
    """Both backups that share a chunk are named, with server, disk backup and bytes; restores and rows agree."""
    server = house.server((64 * 1024,))
    backups = [house.protect(server), house.protect(server)]
    verifier = Verifier(house.records, house.repository)
    assert verifier.verify(Depth.FULL).state is VerificationState.SOUND
    assert warnings_of(house.records) == []
    manifest = backups[0].volumes[0].manifest
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, random.Random(1), chunks=1, pages=0))
    found = verifier.verify(Depth.OBJECTS)
    with house.records.read() as tx:
        assert verifications.newest(tx, ended=True) == found
    assert {(disk.backup_id, disk.backup_name, disk.disk_backup_id) for disk in found.disks} == {
        (backup.id, backup.name, backup.volumes[0].id) for backup in backups
    }
    name = server.volumes[0].name
    assert {(disk.server_name, disk.disk_name, disk.lost) for disk in found.disks} == {("web-1", name, 4096)}
    (warning,) = warnings_of(house.records)
    assert "1 damaged object in" in warning
    assert "2 backups" in warning
    view = house.service.verifications.standing(house.caller, PROJECT)
    assert view == found
    house.scribble(server, 5)
    restore = house.restore(backups[0], salvage=True)
    assert restore.volumes[0].ranges == found.disks[0].ranges


def test_a_look_at_the_structure_alone_takes_nothing_back(house: House) -> None:
    """It sees no flipped bit: what a deeper one has found stands, and nobody is told that all is well again."""
    server = house.server((64 * 1024,))
    manifest = house.protect(server).volumes[0].manifest
    verifier = Verifier(house.records, house.repository)
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, random.Random(1), chunks=1, pages=0))
    found = verifier.verify(Depth.OBJECTS)
    assert verifier.verify(Depth.STRUCTURE).state is VerificationState.SOUND
    assert house.service.verifications.standing(house.caller, PROJECT) == found
    assert "the verification (objects)" in warnings_of(house.records)[0]
    with house.records.read() as tx:
        assert notices.in_trouble(tx, Matter.VERIFICATION)


def test_a_plan_tells_of_what_was_found_lost(house: House) -> None:
    """Also after a look at the structure alone, which sees no flipped bit; not of backups that are whole."""
    server = house.server((64 * 1024,))
    backup, verifier = house.protect(server), Verifier(house.records, house.repository)
    manifest = backup.volumes[0].manifest
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, random.Random(1), chunks=2, pages=0))
    assert _planned(house, backup)[0].known_lost is None
    found = verifier.verify(Depth.OBJECTS)
    verifier.verify(Depth.STRUCTURE)
    house.scribble(server, 5)
    known = _planned(house, backup)[0].known_lost
    assert known == KnownLost(found.started_at, found.disks[0].lost, found.disks[0].ranges)
    assert _planned(house, house.protect(server))[0].known_lost is None
    assert house.restore(backup, salvage=True).volumes[0].ranges == known.ranges


def test_one_that_a_wrong_clock_dates_ahead_hides_nothing_from_plans(house: House) -> None:
    """It was full, and well, before anything was damaged; the clock is right again."""
    server = house.server((64 * 1024,))
    backup, later = house.protect(server), utc_now() + timedelta(days=1000)
    with house.records.begin() as tx:
        verifications.keep(tx, Verification(new_id(), Depth.FULL, VerificationState.SOUND, later, finished_at=later))
    manifest = backup.volumes[0].manifest
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, random.Random(1), chunks=1, pages=0))
    found = Verifier(house.records, house.repository).verify(Depth.OBJECTS)
    house.scribble(server, 5)
    known = _planned(house, backup)[0].known_lost
    assert known == KnownLost(found.started_at, found.disks[0].lost, found.disks[0].ranges)


def _planned(house: House, backup: Backup) -> Sequence[VolumePlan]:
    volumes = zip(backup.volumes, backup.server.volumes, strict=True)
    mappings = tuple(Mapping(source.id, target.id) for source, target in volumes)
    request = RestoreRequest(backup.checkpoint_id, backup.id, backup.server.id, mappings, power_on=False)
    return house.service.restores.plan(house.caller, PROJECT, request).volumes


def test_the_chore_verifies_when_it_is_time(house: House) -> None:
    house.protect(house.server((8192,)))
    verifier = Verifier(house.records, house.repository)
    for every, runs in ((timedelta(days=7), 1), (timedelta(0), 2)):
        chore = Regularly(verifier, house.records, every, Depth.STRUCTURE, None)
        chore(lambda: None)
        chore(lambda: None)
        with house.records.read() as tx:
            rows = tx.connection.exec_driver_sql("SELECT count(*) FROM verifications").scalar()
        assert rows == (1 if runs == 1 else 3)


def test_one_that_a_wrong_clock_dates_ahead_neither_hides_later_ones_nor_holds_them_up(house: House) -> None:
    """The clock was years ahead, and is right again."""
    house.protect(house.server((8192,)))
    verifier = Verifier(house.records, house.repository)
    later = utc_now() + timedelta(days=1000)
    ahead = Verification(new_id(), Depth.OBJECTS, VerificationState.SOUND, later, finished_at=later)
    with house.records.begin() as tx:
        verifications.keep(tx, ahead)
    chore = Regularly(verifier, house.records, timedelta(days=7), Depth.STRUCTURE, None)
    for _ in range(2):
        chore(lambda: None)
        with house.records.read() as tx:
            found = verifications.newest(tx, ended=True)
            rows = tx.connection.exec_driver_sql("SELECT count(*) FROM verifications").scalar()
        assert found is not None
        assert (found.depth, rows) == (Depth.STRUCTURE, 2)


def test_one_that_is_interrupted_is_no_result(house: House) -> None:
    """The row says that it runs; the last result stays what it was, and it is done again the next time."""
    house.protect(house.server((8192,)))
    verifier = Verifier(house.records, house.repository)

    def stop() -> None:
        raise Unavailable("the service ends")

    with pytest.raises(Unavailable):
        verifier.verify(Depth.OBJECTS, check=stop)
    with house.records.read() as tx:
        assert verifications.newest(tx, ended=True) is None
    Regularly(verifier, house.records, timedelta(days=7), Depth.OBJECTS, None)(lambda: None)
    with house.records.read() as tx:
        last = verifications.newest(tx, ended=True)
    assert last is not None
    assert last.state is VerificationState.SOUND


def test_a_log_that_cannot_be_read_is_a_result(house: House) -> None:
    house.protect(house.server((8192,)))
    house.store.delete("log/1")
    ended = Verifier(house.records, house.repository).verify(Depth.STRUCTURE)
    assert ended.state is VerificationState.DAMAGED
    assert "log/1" in ended.findings[0].message


def test_backups_restores_and_verification_at_one_time(house: House) -> None:
    """A look that meets what comes and goes calls nothing damaged."""
    server = house.server((64 * 1024,))
    backup = house.protect(server)
    verifier = Verifier(house.records, house.repository)

    def meanwhile(done: int, total: int) -> None:
        house.scribble(server, done % 97)
        extra = house.protect(server)
        house.service.checkpoints.delete(house.caller, PROJECT, extra.checkpoint_id, None)
        house.drain()

    assert verifier.verify(Depth.FULL, told=meanwhile).state is VerificationState.SOUND
    assert house.restore(backup).state is RestoreState.SUCCESS


def test_a_pace_is_kept() -> None:
    began = time.monotonic()
    pace = Pace(1_000_000, lambda: None)
    for _ in range(5):
        pace(40_000)
    assert time.monotonic() - began >= 0.19
