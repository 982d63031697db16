"""Backups that meet trouble, and what they build on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.house import PROJECT, House

from restead.domain.backup import Backup
from restead.domain.errors import Code, Unavailable
from restead.domain.ids import VolumeId
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState


def _failing(house: House, what: str, times: int, error: Exception | None = None) -> list[str]:
    """Let the next *times* things that begin with *what* fail; returns the list of those that did."""
    failed: list[str] = []

    def fault(happening: str) -> None:
        if happening.startswith(what) and len(failed) < times:
            failed.append(happening)
            raise error or Unavailable(f"{what} does not answer")

    house.power.fault = fault
    return failed


def test_the_second_backup_of_a_disk_builds_on_the_first(house: House) -> None:
    server = house.server((64 * 1024,))
    first, second = house.protect(server), house.protect(server)
    assert [volume.incremental for volume in (*first.volumes, *second.volumes)] == [False, True]
    assert second.volumes[0].stored < first.volumes[0].stored


def test_a_full_backup_builds_on_nothing(house: House) -> None:
    server = house.server()
    house.protect(server)
    assert not any(volume.incremental for volume in house.protect(server, full=True).volumes)


def test_a_new_disk_beside_an_old_one_is_backed_up_whole(house: House) -> None:
    server = house.server()
    house.protect(server, excluded=(server.volumes[1].id,))
    assert [volume.incremental for volume in house.protect(server).volumes] == [True, False]


def test_a_parent_that_only_the_records_know_is_not_built_on(house: House) -> None:
    """The repository decides what there is."""
    server = house.server()
    first = house.protect(server)
    house.repository.delete([volume.manifest for volume in first.volumes if volume.manifest])
    second = house.protect(server)
    assert second.state is BackupState.AVAILABLE
    assert not any(volume.incremental for volume in second.volumes)


def test_a_disk_that_grew_is_backed_up_with_its_new_size(house: House) -> None:
    """Between the promise and the moment; what counts is the moment."""
    server = house.server((8192,))
    backup = house.protect(server, wait=False)
    house.cloud.put(replace(server, volumes=(replace(server.volumes[0], size=12288),)))
    house.drain()
    assert house.backup(backup.id).volumes[0].size == 12288


@pytest.mark.parametrize("what", ["put packs", "put log", "cloud: open_moment", "cloud: read", "cloud: server"])
def test_what_is_unavailable_for_a_while_delays_a_backup(house: House, what: str) -> None:
    server = house.server()
    house.protect(server)  # the project's keys are made now
    backup = house.protect(server, wait=False)
    house.scribble(server, 2)
    failed = _failing(house, what, 1)
    house.drain()
    assert failed != []
    assert house.backup(backup.id).state is BackupState.AVAILABLE
    wanted = house.disks(server)
    house.scribble(server, 3)
    house.restore(house.backup(backup.id))
    assert house.disks(server) == wanted


@pytest.mark.parametrize("what", ["put packs", "cloud: open_moment", "cloud: read"])
def test_what_stays_unavailable_fails_a_backup_with_the_reason(house: House, what: str) -> None:
    server = house.server()
    backup = house.protect(server, wait=False)
    _failing(house, what, 10**6)
    house.drain()
    backup = house.backup(backup.id)
    assert backup.state is BackupState.ERROR
    assert backup.failed_operation == "backup"
    assert backup.failure is not None
    assert (backup.failure.code, backup.failure.message) == (Code.UNAVAILABLE, f"{what} does not answer")
    assert {volume.state for volume in backup.volumes} == {BackupState.ERROR}
    assert backup.finished_at is not None
    house.power.fault = lambda what: None
    assert house.protect(server).state is BackupState.AVAILABLE


def _gone(house: House, server: Server) -> None:
    house.cloud.remove(server.id)


def _running(house: House, server: Server) -> None:
    house.cloud.start(PROJECT, server.id)


def _disk_off(house: House, server: Server) -> None:
    house.cloud.put(replace(server, volumes=server.volumes[:1]))


def _in_error(house: House, server: Server) -> None:
    house.cloud.put(replace(server, status=ServerStatus.ERROR))


@pytest.mark.parametrize(
    ("harm", "code", "named"),
    [
        (_gone, Code.SERVER_NOT_FOUND, "does not exist"),
        (_running, Code.SERVER_STATE_FORBIDS_BACKUP, "is running"),
        (_in_error, Code.SERVER_STATE_FORBIDS_BACKUP, "is error"),
        (_disk_off, Code.SERVER_STATE_FORBIDS_BACKUP, "was taken off"),
    ],
)
def test_a_server_that_changed_after_the_promise_fails_its_backup(
    house: House, harm: Callable[[House, Server], None], code: Code, named: str
) -> None:
    server = house.server()
    backup = house.protect(server, wait=False)
    harm(house, server)
    house.drain()
    failed = house.backup(backup.id)
    assert failed.state is BackupState.ERROR
    assert failed.failure is not None
    assert failed.failure.code is code
    assert named in failed.failure.message
    assert house.repository.manifests(PROJECT) == []


def test_a_bug_fails_a_backup_and_its_words_stay_in_the_log(house: House) -> None:
    backup = house.protect(house.server(), wait=False)
    _failing(house, "cloud: read", 1, KeyError("secret detail"))
    house.drain()
    failed = house.backup(backup.id)
    assert failed.failure is not None
    assert failed.failure.code is Code.INTERNAL
    assert "secret detail" not in failed.failure.message
    assert backup.run_id in failed.failure.message


def test_the_servers_description_is_in_the_repository_too(house: House) -> None:
    """What it takes to make the server again, and which disk is which, without the records."""
    server = house.server()
    backup = house.protect(server)
    for volume in backup.volumes:
        assert volume.manifest is not None
        found = house.repository.manifest(volume.manifest)
        assert found.description.server["disk"] == volume.volume_id
        assert found.description.server["name"] == server.name
        assert found.description.server["description"] == server.description
        assert found.description.role == ("system" if volume.bootable else "data")
        assert found.description.taken_at == backup.protected_at


def test_a_filesystem_consistent_backup_of_a_stopped_server_is_fine(house: House) -> None:
    """There is nothing to freeze."""
    assert house.protect(house.server(), consistency="filesystem").state is BackupState.AVAILABLE


def test_an_interrupted_backup_is_finished_by_the_next_start(house: House) -> None:
    """Interrupted between two disks."""
    server = house.server()
    backup = house.protect(server, wait=False)
    seen: list[str] = []

    def fault(happening: str) -> None:
        seen.append(happening)
        if happening.startswith("put packs"):
            house.engine.stop(timedelta(0))

    house.power.fault = fault
    house.drain()
    assert house.backup(backup.id).state is BackupState.PROTECTING
    house.close()
    house.open()
    house.drain()
    assert house.backup(backup.id).state is BackupState.AVAILABLE
    assert house.story(backup.run_id)[-3:] == ["resumed", "reading", "end"]


def test_backups_of_several_servers_at_once_are_all_right(house: House) -> None:
    """On threads, with restores in between."""
    house.start()
    servers = [house.server(name=f"web-{number}", seed=number) for number in range(6)]
    wanted = [house.disks(server) for server in servers]
    promised: list[Backup] = [house.protect(server, wait=False) for server in servers]
    house.wait(lambda: not house.busy())
    for server in servers:
        house.scribble(server, 99)
    restores = [house.restore(house.backup(backup.id), wait=False) for backup in promised]
    for restore in restores:
        assert house.wait_for(restore.id).failure is None
    assert [house.disks(server) for server in servers] == wanted
    assert len({VolumeId(volume.id) for backup in promised for volume in backup.volumes}) == 12
