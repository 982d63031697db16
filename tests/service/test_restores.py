"""Asking for a restore: what is promised, what is refused, and that a refusal changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.house import PROJECT, House

from restead.domain.backup import SERVER_TYPE, Backup
from restead.domain.caller import Caller, Role
from restead.domain.capability import Finding
from restead.domain.errors import Code, Forbidden, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.domain.listing import RestoreFilter, Window
from restead.domain.restore import Mapping, RestoreRequest
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestoreState, VolumeOutcome
from restead.service import Target

Change = Callable[[House, Backup, Server, RestoreRequest], RestoreRequest]


def test_a_promised_restore_reserves_backup_and_server(house: House) -> None:
    backup = house.protect(house.server())
    restore = house.restore(backup, power_on=True, wait=False)
    assert restore.state is RestoreState.IN_PROGRESS
    assert {volume.outcome for volume in restore.volumes} == {VolumeOutcome.WAITING}
    assert restore.stats.total == sum(volume.size for volume in backup.volumes)
    assert house.backup(backup.id).state is BackupState.RESTORING
    with pytest.raises(InvalidRequest) as refused:
        house.restore(backup, house.server(name="other"))
    assert refused.value.code is Code.NOT_RESTORABLE


def test_of_two_restores_to_one_server_one_is_refused(house: House) -> None:
    server = house.server()
    first, second = house.protect(server), house.protect(server)
    restore = house.restore(first, wait=False)
    with pytest.raises(InvalidRequest, match=restore.id) as refused:
        house.restore(second)
    assert refused.value.code is Code.SERVER_STATE_FORBIDS_RESTORE


def _on_cloud(**changes: object) -> Change:
    def change(house: House, backup: Backup, server: Server, request: RestoreRequest) -> RestoreRequest:
        house.cloud.put(replace(server, **changes))  # type: ignore[arg-type]
        return request

    return change


def _asking(**changes: object) -> Change:
    return lambda house, backup, server, request: replace(request, **changes)  # type: ignore[arg-type]


def _smaller(house: House, backup: Backup, server: Server, request: RestoreRequest) -> RestoreRequest:
    volumes = (replace(server.volumes[0], size=server.volumes[0].size - 1), *server.volumes[1:])
    house.cloud.put(replace(server, volumes=volumes))
    return request


def _in_another_record(house: House, backup: Backup, server: Server, request: RestoreRequest) -> RestoreRequest:
    other = house.protect(house.server(name="other"))
    return replace(request, checkpoint_id=other.checkpoint_id)


def _mapped_to(volume_id: str) -> Change:
    return lambda house, backup, server, request: replace(
        request, mappings=(replace(request.mappings[0], volume_id=VolumeId(volume_id)), *request.mappings[1:])
    )


def _one_only(house: House, backup: Backup, server: Server, request: RestoreRequest) -> RestoreRequest:
    return replace(request, mappings=request.mappings[:1])


REFUSALS: list[tuple[str, Code, Change]] = [
    ("no mapping", Code.WRONG_PARAMETER, _asking(mappings=())),
    ("no such record", Code.BACKUP_NOT_FOUND, _asking(checkpoint_id="nothing")),
    ("no such backup", Code.BACKUP_NOT_FOUND, _asking(backup_id="nothing")),
    ("not in the record", Code.BACKUP_NOT_FOUND, _in_another_record),
    ("type", Code.TYPE_NOT_RESTORABLE, _asking(server_type="OS::Cinder::Volume")),
    ("no such server", Code.SERVER_NOT_FOUND, _asking(server_id=ServerId("nothing"))),
    ("state", Code.SERVER_STATE_FORBIDS_RESTORE, _on_cloud(status=ServerStatus.BUSY)),
    ("no disk", Code.SERVER_WITHOUT_DISK, _on_cloud(volumes=())),
    ("unmapped", Code.VOLUME_BACKUP_NOT_MAPPED, _one_only),
    ("not attached", Code.VOLUME_NOT_ATTACHED, _mapped_to("nothing")),
    ("too small", Code.TARGET_TOO_SMALL, _smaller),
    ("cannot be started", Code.SERVER_KIND_NOT_RESTORABLE, _on_cloud(can_start=False)),
]


@pytest.mark.parametrize(("code", "change"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_refused_restore_changes_nothing(house: House, code: Code, change: Change) -> None:
    """All rows, all stored objects and all disks are what they were."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    request = change(house, backup, server, house.request(backup, power_on=True))
    before = house.dump()
    with pytest.raises((InvalidRequest, NotFound)) as refused:
        house.service.restores.create(house.caller, PROJECT, request)
    assert refused.value.code is code
    house.drain()
    assert house.dump() == before


def test_who_may_not_is_refused(house: House) -> None:
    backup = house.protect(house.server())
    for caller in (house.reader, Caller("x", ProjectId("other"), frozenset({Role.MEMBER}))):
        with pytest.raises(Forbidden):
            house.service.restores.create(caller, PROJECT, house.request(backup))


def test_restores_are_listed_and_found_in_their_project_only(house: House) -> None:
    restore = house.restore(house.protect(house.server()))
    find, stranger = house.service.restores, Caller("x", ProjectId("other"), frozenset({Role.MEMBER}))
    assert find.list(house.reader, PROJECT, RestoreFilter(), Window()).items == (restore,)
    assert find.list(stranger, stranger.project_id, RestoreFilter(), Window(all_projects=True)).items == ()
    assert find.list(house.admin, stranger.project_id, RestoreFilter(), Window(all_projects=True)).items == (restore,)
    with pytest.raises(NotFound) as unknown:
        find.restore(stranger, stranger.project_id, restore.id)
    assert unknown.value.code is Code.TASK_NOT_FOUND


# ---------------------------------------------------------------------- capabilities


def test_a_finding_says_what_the_real_call_would_say(house: House) -> None:
    """One for each that was asked, in the same order; nothing is changed."""
    good, running = house.server(name="good"), house.server(name="running")
    house.cloud.put(replace(running, status=ServerStatus.RUNNING))
    before = house.dump()
    asked = [(good.id, SERVER_TYPE), (ServerId("x"), SERVER_TYPE), (running.id, SERVER_TYPE), (good.id, "disk"),
             (good.id, SERVER_TYPE)]  # fmt: skip
    found = house.service.capabilities.protectable(house.reader, PROJECT, asked)
    assert [(finding.resource_id, finding.resource_type) for finding in found] == asked
    assert [finding.code for finding in found] == [
        None, Code.SERVER_NOT_FOUND, Code.SERVER_STATE_FORBIDS_BACKUP, Code.TYPE_NOT_PROTECTABLE, None,
    ]  # fmt: skip
    assert house.dump() == before


def test_a_restore_is_judged_without_being_done(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    good = Target(server.id, SERVER_TYPE, house.request(backup).mappings)
    twice = replace(good, mappings=(good.mappings[0], good.mappings[0]))
    wrong = replace(good, mappings=(Mapping(backup.volumes[0].id, VolumeId("nothing")), good.mappings[1]))
    before = house.dump()
    found = house.service.capabilities.restorable(
        house.reader, PROJECT, [(backup.id, good), ("nothing", good), (backup.id, wrong), (backup.id, twice)]
    )
    assert found[0] == Finding(server.id, SERVER_TYPE)
    assert [finding.code for finding in found[1:]] == [
        Code.BACKUP_NOT_FOUND, Code.VOLUME_NOT_ATTACHED, Code.WRONG_PARAMETER,
    ]  # fmt: skip
    assert house.dump() == before


def test_what_cannot_be_reached_is_no_finding(house: House) -> None:
    server = house.server()

    def silent(what: str) -> None:
        if what == "cloud: server":
            raise Unavailable("no answer")

    house.power.fault = silent
    with pytest.raises(Unavailable):
        house.service.capabilities.protectable(house.reader, PROJECT, [(server.id, SERVER_TYPE)])
