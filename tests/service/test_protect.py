"""Protecting: what is promised, and that a refusal changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.house import PROJECT, House

from restead.domain.backup import BackupRequest, BackupRules, ProtectedServer, Tag
from restead.domain.caller import Caller, Role
from restead.domain.errors import Code, Forbidden, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId, ServerId
from restead.domain.listing import BackupFilter, CheckpointFilter, Window
from restead.domain.quota import Quota, QuotaLimits
from restead.domain.server import ServerStatus
from restead.domain.states import BackupState
from restead.service import Rules


def test_a_backup_is_listed_as_soon_as_it_is_promised(house: House) -> None:
    server = house.server()
    backup = house.protect(server, wait=False, name="nightly", description="d", tags=(Tag("a", "b"),))
    assert backup.state is BackupState.PROTECTING
    assert house.backup(backup.id) == backup
    assert [volume.name for volume in backup.volumes] == ["nightly_disk-0", "nightly_disk-1"]
    assert (backup.tags, backup.description, backup.progress) == ((Tag("a", "b"),), "d", 0)
    checkpoint = house.service.checkpoints.checkpoint(house.caller, PROJECT, backup.checkpoint_id)
    assert checkpoint.state is BackupState.PROTECTING
    assert checkpoint.plan_id.startswith("fake_")
    assert checkpoint.plan_name == f"server protect plan for {server.id}"
    assert checkpoint.servers == (ProtectedServer(server.id, server.name),)


def test_a_backup_without_a_name_gets_one_of_the_contracts_form(house: House) -> None:
    backup = house.protect(house.server(), wait=False)
    assert backup.name.startswith("manualbk_")
    assert len(bytes.fromhex(backup.name.removeprefix("manualbk_"))) == 2


def test_what_was_promised_is_made(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    assert backup.state is BackupState.AVAILABLE
    assert backup.progress == 100
    assert backup.finished_at is not None
    assert backup.consistency == "offline"
    assert [volume.size for volume in backup.volumes] == [volume.size for volume in server.volumes]
    assert house.story(backup.run_id) == ["accepted", "reading", "end"]


def test_excluded_disks_are_left_out(house: House) -> None:
    server = house.server()
    backup = house.protect(server, excluded=(server.volumes[1].id,))
    assert [volume.volume_id for volume in backup.volumes] == [server.volumes[0].id]


def _refusals() -> list[tuple[str, Code, Callable[[House], object]]]:
    def protect(house: House, **changes: object) -> object:
        server = house.cloud.servers(PROJECT)[0]
        return house.protect(replace(server, **changes))  # type: ignore[arg-type]

    def with_status(status: ServerStatus) -> Callable[[House], object]:
        def refused(house: House) -> object:
            server = house.cloud.servers(PROJECT)[0]
            house.cloud.put(replace(server, status=status))
            house.untouched = house.dump()
            return house.protect(server)

        return refused

    def twice(house: House) -> object:
        protect_once = house.protect(house.cloud.servers(PROJECT)[0], wait=False)
        house.untouched = house.dump()
        return house.protect(protect_once.server)

    return [
        ("no such server", Code.SERVER_NOT_FOUND, lambda h: protect(h, id=ServerId("nothing"))),
        ("running", Code.SERVER_STATE_FORBIDS_BACKUP, with_status(ServerStatus.RUNNING)),
        ("in error", Code.SERVER_STATE_FORBIDS_BACKUP, with_status(ServerStatus.ERROR)),
        ("being destroyed", Code.SERVER_BEING_DESTROYED, with_status(ServerStatus.DELETING)),
        ("a backup under way", Code.SERVER_STATE_FORBIDS_BACKUP, twice),
    ]


@pytest.mark.parametrize(("code", "refused"), [row[1:] for row in _refusals()], ids=[row[0] for row in _refusals()])
def test_a_refused_backup_changes_nothing(house: House, code: Code, refused: Callable[[House], object]) -> None:
    """All rows, all stored objects and all disks are what they were."""
    house.server()
    house.untouched = house.dump()
    with pytest.raises(InvalidRequest) as error:
        refused(house)
    assert error.value.code is code
    assert house.dump() == house.untouched


def test_a_server_that_is_restored_is_not_backed_up_meanwhile(house: House) -> None:
    backup = house.protect(house.server())
    restore = house.restore(backup, wait=False)
    with pytest.raises(InvalidRequest, match=restore.id) as refused:
        house.protect(backup.server)
    assert refused.value.code is Code.SERVER_STATE_FORBIDS_BACKUP


def test_a_cloud_that_does_not_answer_is_no_refusal(house: House) -> None:
    server = house.server()

    def silent(what: str) -> None:
        if what == "cloud: server":
            raise Unavailable("no answer")

    house.power.fault = silent
    with pytest.raises(Unavailable):
        house.protect(server)


def test_who_may_not_is_refused_before_anything_is_looked_at(house: House) -> None:
    server = house.server()
    for caller in (house.reader, Caller("x", ProjectId("other"), frozenset({Role.MEMBER}))):
        with pytest.raises(Forbidden):
            house.service.checkpoints.protect(caller, PROJECT, BackupRequest(server.id))
    house.service.checkpoints.protect(house.admin, PROJECT, BackupRequest(server.id))


def test_a_full_quota_refuses_and_is_shown() -> None:
    with TemporaryDirectory() as folder:
        house = House(Path(folder), rules=Rules(quotas=QuotaLimits(backups=1, capacity=5)))
        server = house.server()
        house.protect(server)
        with pytest.raises(InvalidRequest) as refused:
            house.protect(server)
        assert refused.value.code is Code.QUOTA_EXCEEDED
        assert house.service.quotas.quotas(house.reader, PROJECT) == (
            Quota("backup_capacity", 5, 1, unit="GB"), Quota("backups", 1, 1),
        )  # fmt: skip
        house.close()


def test_shared_disks_are_refused_where_the_operator_forbids_them() -> None:
    with TemporaryDirectory() as folder:
        house = House(Path(folder), rules=Rules(backup=BackupRules(shared_disks=False)))
        server = house.server()
        house.cloud.put(replace(server, volumes=tuple(replace(v, shared=True) for v in server.volumes)))
        with pytest.raises(InvalidRequest) as refused:
            house.protect(server)
        assert refused.value.code is Code.SHARED_DISK
        house.close()


# ---------------------------------------------------------------------- deleting


def test_a_deleted_backup_is_deleting_at_once_and_then_not_found(house: House) -> None:
    backup = house.protect(house.server())
    house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
    assert house.backup(backup.id).state is BackupState.DELETING
    assert house.backup(backup.id).progress == 0
    house.drain()
    with pytest.raises(NotFound) as gone:
        house.backup(backup.id)
    assert gone.value.code is Code.BACKUP_NOT_FOUND
    with pytest.raises(NotFound):
        house.service.checkpoints.checkpoint(house.caller, PROJECT, backup.checkpoint_id)
    assert house.repository.manifests(PROJECT) == []
    assert house.service.checkpoints.list(house.caller, PROJECT, CheckpointFilter(), Window()).items == ()


def test_deleting_one_backup_harms_no_other_of_the_same_disk(house: House) -> None:
    server = house.server()
    first = house.protect(server)
    house.scribble(server, 2)
    second = house.protect(server)
    wanted = house.disks(server)
    house.service.checkpoints.delete(house.caller, PROJECT, first.checkpoint_id, [first.id])
    house.drain()
    house.scribble(server, 3)
    house.restore(second)
    assert house.disks(server) == wanted


def test_a_backup_that_is_being_worked_on_is_not_deleted(house: House) -> None:
    """Protecting, restoring, deleting: CSBS.2003, and nothing is changed."""
    server = house.server()
    backup = house.protect(server, wait=False)
    for begin in (
        lambda: None,
        lambda: house.restore(backup, wait=False),
        lambda: house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None),
    ):
        begin()
        before = house.dump()
        with pytest.raises(InvalidRequest) as refused:
            house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
        assert refused.value.code is Code.IN_PROGRESS
        assert house.dump() == before
        house.drain()


def test_what_is_not_in_the_checkpoint_cannot_be_deleted_through_it(house: House) -> None:
    one, other = house.protect(house.server(name="a")), house.protect(house.server(name="b"))
    before = house.dump()
    for checkpoint_id, ids in ((one.checkpoint_id, [one.id, other.id]), ("nothing", None), (one.checkpoint_id, ["x"])):
        with pytest.raises(NotFound) as refused:
            house.service.checkpoints.delete(house.caller, PROJECT, checkpoint_id, ids)
        assert refused.value.code is Code.BACKUP_NOT_FOUND
    assert house.dump() == before


def test_a_failed_backup_can_be_deleted(house: House) -> None:
    server = house.server()
    backup = house.protect(server, wait=False)
    house.cloud.remove(server.id)
    house.drain()
    assert house.backup(backup.id).state is BackupState.ERROR
    house.service.checkpoints.delete(house.caller, PROJECT, backup.checkpoint_id, None)
    house.drain()
    assert house.all_backups() == ()


# ---------------------------------------------------------------------- looking


def test_the_id_of_a_checkpoint_with_one_backup_finds_that_backup(house: House) -> None:
    backup = house.protect(house.server())
    assert house.backup(backup.checkpoint_id) == backup  # type: ignore[arg-type]


def test_another_projects_things_are_not_found(house: House) -> None:
    backup = house.protect(house.server())
    other = ProjectId("other")
    stranger = Caller("x", other, frozenset({Role.MEMBER}))
    for look in (
        lambda: house.service.backups.backup(stranger, other, backup.id),
        lambda: house.service.backups.backup(stranger, other, backup.checkpoint_id),
        lambda: house.service.checkpoints.checkpoint(stranger, other, backup.checkpoint_id),
        lambda: house.service.checkpoints.delete(stranger, other, backup.checkpoint_id, None),
        lambda: house.service.servers.server(stranger, other, backup.server.id),
    ):
        with pytest.raises(NotFound):
            look()
    assert house.service.backups.list(stranger, other, BackupFilter(), Window(all_projects=True)).items == ()
    assert house.service.backups.count(stranger, other, BackupFilter(), all_projects=True) == 0
    assert house.service.backups.count(house.admin, other, BackupFilter(), all_projects=True) == 1


def test_a_server_is_found_by_id_or_by_a_name_that_only_one_has(house: House) -> None:
    one = house.server(name="web")
    find = house.service.servers.server
    assert find(house.reader, PROJECT, one.id) == find(house.reader, PROJECT, "web") == one
    house.server(name="web")
    with pytest.raises(InvalidRequest, match=one.id):
        find(house.reader, PROJECT, "web")
    with pytest.raises(NotFound):
        find(house.reader, PROJECT, "db")
    assert len(house.service.servers.list(house.reader, PROJECT)) == 2
