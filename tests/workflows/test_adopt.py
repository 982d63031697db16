"""Rows that were lost, or put back as they were earlier, and what is made of them from the repository."""

import shutil
from itertools import count

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.lab import rows

from restead.domain.backup import Backup
from restead.domain.errors import Code, InvalidRequest
from restead.domain.run import Told
from restead.domain.server import Server
from restead.domain.states import BackupState, RestoreState
from restead.domain.stock import Settled, Settlement
from restead.workflows.adopt import Adoption
from restead.workflows.stock import stored_disks, take_stock, warnings_of


def _lose_records(house: House) -> None:
    """All rows are gone, as after `rm records.sqlite*`."""
    house.close()
    rows.lose(house.records)
    house.open()


def _put_back(house: House, kept: rows.Rows) -> None:
    """The rows are as they were earlier."""
    house.close()
    rows.put_back(house.records, kept)
    house.open()


def _put_repository_back(house: House, objects: dict[str, bytes]) -> None:
    """The repository is as it was earlier, and what watched over that is gone too."""
    house.close()
    for name, _ in list(house.store.list("")):
        house.store.delete(name)
    for name, data in objects.items():
        house.store.put(name, data)
    shutil.rmtree(house.folder / "cache")
    house.open()


def _objects(house: House) -> dict[str, bytes]:
    return {name: house.store.get(name) for name, _ in house.store.list("")}


def _adopt(house: House) -> list[Settled]:
    return list(Adoption(house.records, house.repository).settle())


def _done(settled: list[Settled]) -> list[Settlement]:
    return [each.what for each in settled]


def _restores(house: House, backup: Backup, server: Server, wanted: list[bytes]) -> None:
    """The backup is restored onto disks that hold something else, and they are as they were."""
    house.scribble(server, 99)
    assert house.disks(server) != wanted
    restore = house.restore(backup)
    assert (restore.state, restore.failure) == (RestoreState.SUCCESS, None)
    assert house.disks(server) == wanted


def test_lost_records_are_made_anew_and_every_disk_comes_back(house: House) -> None:
    """Three backups of two servers, one of them incremental: all as they were, under the names and ids they had."""
    one, other = house.server(name="web-1"), house.server((16384,), name="db-1", seed=2)
    made: list[tuple[Backup, Server, list[bytes]]] = []
    for server, seed, name in ((one, 3, "first"), (other, 4, "second"), (one, 5, "third")):
        house.scribble(server, seed)
        backup = house.protect(server, name=name, description=f"the {name}", full=name == "second")
        made.append((backup, server, house.disks(server)))
    assert made[2][0].volumes[0].incremental
    _lose_records(house)
    assert house.all_backups() == ()
    assert warnings_of(house.records, house.repository) == [
        "5 disk backups in the repository are in no list: restead repository adopt"
    ]
    assert _done(_adopt(house)) == [Settlement.ADOPTED] * 3
    assert warnings_of(house.records, house.repository) == []
    assert {backup.id for backup, _, _ in made} == {backup.id for backup in house.all_backups()}
    for before, server, wanted in made:
        found = house.backup(before.id)
        for same in ("checkpoint_id", "name", "description", "created_at", "full", "server", "consistency", "run_id"):
            assert getattr(found, same) == getattr(before, same), same
        assert found.protected_at == before.protected_at
        assert [(v.id, v.volume_id, v.size, v.bootable, v.incremental, v.manifest) for v in found.volumes] == [
            (v.id, v.volume_id, v.size, v.bootable, v.incremental, v.manifest) for v in before.volumes
        ]
        _restores(house, found, server, wanted)
    assert house.protect(one).volumes[0].incremental, "the next backup builds on what was adopted"


def test_adopting_twice_changes_nothing(house: House) -> None:
    server = house.server()
    house.protect(server)
    _lose_records(house)
    _adopt(house)
    before = house.dump()
    assert _adopt(house) == []
    assert house.dump() == before


@pytest.mark.long_on_postgres
def test_power_cut_anywhere_in_adopting(house: House) -> None:
    """What is adopted is whole, and the next time goes on with the rest."""
    server, other = house.server(), house.server((16384,), name="db-1", seed=2)
    made = {house.protect(server).id, house.protect(other).id, house.protect(server).id}
    for at in count(1):
        _lose_records(house)
        house.cut_power_at(at)
        try:
            _adopt(house)
            break
        except PowerCut:
            house.crash_and_restart()
        there = house.all_backups()
        assert all(backup.restorable and backup.volumes for backup in there)
        assert len(_adopt(house)) == 3 - len(there)
        assert {backup.id for backup in house.all_backups()} == made
    assert at > 6, "each backup is a transaction of its own"


def test_where_nothing_was_lost_nothing_is_done(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    house.restore(backup)
    before = house.dump()
    assert warnings_of(house.records, house.repository) == []
    assert _adopt(house) == []
    assert house.dump() == before


def test_a_half_finished_backup_is_not_adopted(house: House) -> None:
    """Its session is open in the log; it is ended, so that it keeps nothing for ever."""
    server = house.server()
    house.protect(server)
    house.scribble(server, 2)
    house.protect(server, wait=False)
    house.cut_power_at(12)
    with pytest.raises(PowerCut):
        house.drain()
    house.crash_and_restart()
    assert [session.open for session in house.repository.log.refresh().sessions.values()] == [True]
    _lose_records(house)
    assert _done(_adopt(house)) == [Settlement.ADOPTED]
    assert len(house.all_backups()) == 1
    assert not house.repository.log.refresh().sessions


def test_what_a_run_under_way_has_made_is_left_to_it(house: House) -> None:
    """Between its commit and its row the repository knows of a backup that no list has."""
    server = house.server()
    house.protect(server, wait=False)
    for further in count(1):  # until the commit is durable, and nothing behind it is
        house.cut_power_at(further)
        with pytest.raises(PowerCut):
            house.drain()
        house.crash_and_restart()
        if house.repository.log.refresh().manifests:
            break
    assert house.all_backups()[0].state is BackupState.PROTECTING
    assert warnings_of(house.records, house.repository) == []
    assert [disk.under_way for disk in stored_disks(house.records, house.repository)] == [True, True]
    assert _adopt(house) == []
    house.drain()
    assert house.all_backups()[0].state is BackupState.AVAILABLE


def test_what_a_restore_has_overwritten_is_adopted_too(house: House) -> None:
    """Under a name that says so; it undoes the restore that nobody remembers."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    overwritten = house.disks(server)
    restore = house.restore(backup)
    _lose_records(house)
    settled = _adopt(house)
    assert _done(settled) == [Settlement.ADOPTED] * 2
    kept = next(each for each in house.all_backups() if each.id != backup.id)
    assert kept.name.startswith("prerestore_")
    assert (kept.safety_of, kept.auto_trigger) == (restore.id, False)
    house.engine.do_chores()
    house.drain()
    assert kept.id in {each.id for each in house.all_backups()}, "its time begins anew"
    _restores(house, kept, server, overwritten)


def test_backups_that_are_younger_than_the_records_come_into_the_lists(house: House) -> None:
    server = house.server()
    first = house.protect(server)
    kept = rows.everything(house.records)
    house.scribble(server, 2)
    second, wanted = house.protect(server, name="later"), house.disks(server)
    _put_back(house, kept)
    assert [backup.id for backup in house.all_backups()] == [first.id]
    assert _done(_adopt(house)) == [Settlement.ADOPTED]
    _restores(house, house.backup(second.id), server, wanted)


def test_a_backup_that_the_records_say_is_being_made_is_found_when_its_run_has_ended(house: House) -> None:
    """The rows were put back to a moment inside it; the run cannot tell any more what it saved, the repository can."""
    server = house.server()
    backup = house.protect(server, wait=False)
    kept = rows.everything(house.records)
    house.drain()
    wanted = house.disks(server)
    _put_back(house, kept)
    assert _adopt(house) == []
    house.drain()
    failed = house.backup(backup.id)
    assert failed.state is BackupState.ERROR
    assert failed.failure is not None
    assert "the records are older than the repository" in failed.failure.message
    assert _done(_adopt(house)) == [Settlement.FOUND]
    assert [each.id for each in house.all_backups()] == [backup.id]
    _restores(house, house.backup(backup.id), server, wanted)


def test_a_backup_whose_deletion_was_rolled_back_becomes_error(house: House) -> None:
    server = house.server()
    gone, stays = house.protect(server), house.protect(server)
    kept = rows.everything(house.records)
    house.service.checkpoints.delete(house.caller, PROJECT, gone.checkpoint_id, None)
    house.drain()
    _put_back(house, kept)
    assert warnings_of(house.records, house.repository) == [
        "1 backup in the lists cannot be restored, because the repository does not hold all of its disks: "
        "restead repository adopt"
    ]
    before = house.disks(server)
    restore = house.restore(house.backup(gone.id))
    assert restore.state is RestoreState.FAIL
    assert restore.failure is not None
    assert restore.failure.code is Code.BACKUP_NOT_FOUND
    assert house.disks(server) == before
    assert _done(_adopt(house)) == [Settlement.LOST]
    lost = house.backup(gone.id)
    assert lost.state is BackupState.ERROR
    assert lost.failure is not None
    assert "the repository does not hold" in lost.failure.message
    with pytest.raises(InvalidRequest, match="only an available one") as refused:
        house.restore(lost)
    assert refused.value.code is Code.NOT_RESTORABLE
    assert house.backup(stays.id).state is BackupState.AVAILABLE
    assert _adopt(house) == []
    house.service.checkpoints.delete(house.caller, PROJECT, gone.checkpoint_id, None)
    house.drain()
    assert [backup.id for backup in house.all_backups()] == [stays.id]


def test_another_backup_under_the_same_number_is_not_taken_for_it(house: House) -> None:
    """An older repository is put in place, and goes on to give the same numbers to others."""
    server, other = house.server(), house.server((16384,), name="db-1", seed=2)
    first = house.protect(server)
    objects = _objects(house)
    house.scribble(server, 3)
    lost, wanted = house.protect(server, name="lost"), house.disks(server)
    newer = _objects(house)
    _put_repository_back(house, objects)
    house.protect(other)
    stranger = house.protect(other)
    numbers = {volume.manifest for backup in house.all_backups() for volume in backup.volumes}
    assert len(numbers) < sum(len(backup.volumes) for backup in house.all_backups()), "two share a number"
    before = house.disks(server)
    mistaken = house.restore(house.backup(lost.id))
    assert mistaken.failure is not None
    assert "an older repository was put in this one's place" in mistaken.failure.message
    assert (mistaken.state, house.disks(server)) == (RestoreState.FAIL, before)
    assert _done(_adopt(house)) == [Settlement.LOST]
    assert house.backup(lost.id).state is BackupState.ERROR
    house.service.checkpoints.delete(house.caller, PROJECT, lost.checkpoint_id, None)
    house.drain()
    assert {disk.backup_id for disk in stored_disks(house.records, house.repository)} >= {first.id, stranger.id}
    assert not take_stock(house.records, house.repository).lost, "the deletion took nothing that is another's"
    _put_repository_back(house, newer)
    assert Settlement.ADOPTED in _done(_adopt(house))
    back = next(each for each in house.all_backups() if each.name == "lost")
    _restores(house, back, server, wanted)


def test_deleting_a_backup_takes_nothing_that_is_another_s(house: House) -> None:
    """Nobody has adopted anything yet, and two backups name one number: it is that of the one whose run made it."""
    server = house.server()
    house.protect(server)
    objects = _objects(house)
    lost = house.protect(server)
    _put_repository_back(house, objects)
    house.scribble(server, 3)
    stranger, wanted = house.protect(server), house.disks(server)
    assert [volume.manifest for volume in stranger.volumes] == [volume.manifest for volume in lost.volumes]
    house.service.checkpoints.delete(house.caller, PROJECT, lost.checkpoint_id, None)
    house.drain()
    _restores(house, stranger, server, wanted)


def test_a_deleted_backup_comes_back_with_the_repository_that_had_it(house: House) -> None:
    """Under an id of its own: its old one is that of a deleted backup."""
    server = house.server()
    deleted, wanted = house.protect(server, name="deleted"), house.disks(server)
    objects = _objects(house)
    house.service.checkpoints.delete(house.caller, PROJECT, deleted.checkpoint_id, None)
    house.drain()
    _put_repository_back(house, objects)
    assert _done(_adopt(house)) == [Settlement.ADOPTED]
    (back,) = house.all_backups()
    assert back.name == "deleted"
    assert back.id != deleted.id
    _restores(house, back, server, wanted)
    house.service.checkpoints.delete(house.caller, PROJECT, back.checkpoint_id, None)
    house.drain()
    assert [each.backup_id for each in stored_disks(house.records, house.repository) if not each.backup_id] == []


def test_a_backup_that_was_lost_is_found_when_its_repository_is_back(house: House) -> None:
    server = house.server()
    house.protect(server)
    objects = _objects(house)
    house.scribble(server, 3)
    lost, wanted = house.protect(server), house.disks(server)
    newer = _objects(house)
    _put_repository_back(house, objects)
    assert _done(_adopt(house)) == [Settlement.LOST]
    _put_repository_back(house, newer)
    assert _done(_adopt(house)) == [Settlement.FOUND]
    _restores(house, house.backup(lost.id), server, wanted)


def test_a_damaged_root_hides_no_other_backup(house: House) -> None:
    """What cannot be read is named and left; the rest is adopted."""
    server, other = house.server(), house.server((16384,), name="db-1", seed=2)
    house.protect(server)
    packs = {name for name, _ in house.store.list("packs/")}
    kept = house.protect(other)
    for name in packs:
        house.store.delete(name)
    shutil.rmtree(house.folder / "cache")
    _lose_records(house)
    settled = _adopt(house)
    assert sorted(_done(settled)) == [Settlement.ADOPTED, Settlement.LEFT]
    left = next(each for each in settled if each.what is Settlement.LEFT)
    assert left.damaged
    assert "is missing" in left.reason or "no pack" in left.reason
    assert [backup.id for backup in house.all_backups()] == [kept.id]
    damaged = [disk for disk in stored_disks(house.records, house.repository) if disk.damage]
    assert len(damaged) == 2


def test_the_story_of_an_adopted_backup_is_empty_and_asked_for_in_vain_by_nobody(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    assert Told.END.value in house.story(backup.run_id)
    _lose_records(house)
    _adopt(house)
    assert house.story(backup.run_id) == []
    house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
    house.drain()
    assert house.all_backups() == ()
    assert list(stored_disks(house.records, house.repository)) == []


def test_a_restore_that_the_records_have_forgotten_is_not_done_again(house: House) -> None:
    """The rows were put back to a moment inside it: what was written to the disks since is not overwritten."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 5)
    restore = house.restore(backup, wait=False)
    kept = rows.everything(house.records)
    house.drain()
    house.scribble(server, 6)
    newer = house.disks(server)
    _put_back(house, kept)
    house.drain()
    again = house.wait_for(restore.id)
    assert again.failure is not None
    assert "the records are older than the repository" in again.failure.message
    assert (again.state, house.disks(server)) == (RestoreState.FAIL, newer)
