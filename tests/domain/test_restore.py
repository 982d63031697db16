"""Conditions 1 and 4 to 19 of CSBS section 9.3: each with its code and both numbers, and in their order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations

import pytest

from restead.domain.backup import Backup, VolumeBackup
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ProjectId,
    RunId,
    ServerId,
    VolumeBackupId,
    VolumeId,
)
from restead.domain.restore import Mapping, RestorePlan, RestoreRequest, check_distinct, plan_restore
from restead.domain.server import Kind, Server, ServerStatus, Volume
from restead.domain.states import BackupState

_NOW = datetime(2026, 3, 2, tzinfo=UTC)
_UUID = "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"
GIB = 1 << 30


@dataclass(frozen=True)
class Case:
    """Everything a plan is made of."""

    request: RestoreRequest
    backup: Backup
    server: Server | None
    busy: str | None = None
    zones: tuple[str, str] | None = None  # a pair that is not allowed

    def plan(self) -> RestorePlan:
        return plan_restore(
            self.request, self.backup, self.server, busy=self.busy,
            zones=lambda source, target: (source, target) != self.zones,
        )  # fmt: skip

    def on_server(self, **changes: object) -> "Case":
        assert self.server is not None
        return replace(self, server=replace(self.server, **changes))  # type: ignore[arg-type]

    def on_volume(self, at: int, **changes: object) -> "Case":
        assert self.server is not None
        volumes = list(self.server.volumes)
        if at < len(volumes):
            volumes[at] = replace(volumes[at], **changes)  # type: ignore[arg-type]
        return self.on_server(volumes=tuple(volumes))

    def on_request(self, **changes: object) -> "Case":
        return replace(self, request=replace(self.request, **changes))  # type: ignore[arg-type]


def _good() -> Case:
    """A restore of a system and a data disk that can be done."""
    sources = tuple(
        VolumeBackup(VolumeBackupId(f"vb{n}"), f"b_d{n}", BackupState.AVAILABLE, VolumeId(f"old{n}"), f"d{n}",
                     size=20 * GIB, bootable=n == 0)
        for n in range(2)
    )  # fmt: skip
    old = Server(ServerId("old"), ProjectId("p"), "old", ServerStatus.STOPPED, zone="here")
    backup = Backup(BackupId("b"), CheckpointId("c"), ProjectId("p"), "b", "", BackupState.AVAILABLE, old, _NOW, _NOW,
                    RunId("r"), sources)  # fmt: skip
    volumes = tuple(Volume(VolumeId(f"v{n}"), f"v{n}", 20 * GIB, bootable=n == 0) for n in range(2))
    server = Server(ServerId("s"), ProjectId("p"), "s", ServerStatus.RUNNING, volumes, zone="there",
                    can_stop=True, can_start=True)  # fmt: skip
    mappings = tuple(Mapping(VolumeBackupId(f"vb{n}"), VolumeId(f"v{n}")) for n in range(2))
    request = RestoreRequest(CheckpointId("c"), BackupId("b"), ServerId("s"), mappings, power_on=True)
    return Case(request, backup, server)


def _mapping(case: Case, at: int, **changes: object) -> Case:
    mappings = list(case.request.mappings)
    if at < len(mappings):
        mappings[at] = replace(mappings[at], **changes)  # type: ignore[arg-type]
    return case.on_request(mappings=tuple(mappings))


def _if_there(change: Callable[[Case], Case]) -> Callable[[Case], Case]:
    return lambda case: case if case.server is None else change(case)


CONDITIONS: list[tuple[int, Code, Callable[[Case], Case], list[str]]] = [
    (4, Code.NOT_RESTORABLE, lambda c: replace(c, backup=replace(c.backup, state=BackupState.ERROR)), ["b", "error"]),
    (5, Code.TYPE_NOT_RESTORABLE, lambda c: c.on_request(server_type="OS::Cinder::Volume"), ["OS::Cinder::Volume"]),
    (6, Code.SERVER_NOT_FOUND, lambda c: replace(c, server=None), ["server s"]),
    (7, Code.SERVER_KIND_NOT_RESTORABLE, _if_there(lambda c: c.on_server(kind=Kind.BARE_METAL)), ["s", "bare_metal"]),
    (7, Code.SERVER_KIND_NOT_RESTORABLE, _if_there(lambda c: c.on_server(disks_at="far")), ["s", "disks on far"]),
    (8, Code.DIFFERENT_KINDS, _if_there(lambda c: c.on_server(architecture="aarch64")), ["x86_64", "aarch64"]),
    (9, Code.SERVER_STATE_FORBIDS_RESTORE, _if_there(lambda c: c.on_server(status=ServerStatus.BUSY)), ["s", "busy"]),
    (10, Code.SERVER_STATE_FORBIDS_RESTORE, lambda c: replace(c, busy="restore 1f is under way"), ["restore 1f"]),
    (11, Code.SERVER_WITHOUT_DISK, _if_there(lambda c: c.on_server(volumes=())), ["server s"]),
    (12, Code.VOLUME_BACKUP_NOT_IN_BACKUP, lambda c: _mapping(c, 0, volume_backup_id="other"), ["other", "backup b"]),
    (13, Code.VOLUME_BACKUP_NOT_MAPPED, lambda c: c.on_request(mappings=c.request.mappings[:1]), ["vb1", "1 of 2"]),
    (14, Code.VOLUME_NOT_ATTACHED, lambda c: _mapping(c, 0, volume_id="stranger"), ["stranger", "server s"]),
    (15, Code.TARGET_SHAREABLE, _if_there(lambda c: c.on_volume(0, shared=True)), ["disk v0"]),
    (16, Code.DATA_TO_SYSTEM_DISK, _if_there(lambda c: c.on_volume(1, bootable=True)), ["vb1", "v1"]),
    (17, Code.TARGET_TOO_SMALL, _if_there(lambda c: c.on_volume(0, size=20 * GIB - 1)),
     ["disk v0", str(20 * GIB - 1), "disk backup vb0", str(20 * GIB)]),
    (18, Code.ZONES_DO_NOT_MATCH, lambda c: replace(c, zones=("here", "there")), ["'here'", "'there'"]),
    (19, Code.SERVER_KIND_NOT_RESTORABLE, _if_there(lambda c: c.on_server(can_start=False)), ["s", "power_on"]),
]  # fmt: skip


def test_a_restore_that_can_be_done_is_planned() -> None:
    plan = _good().plan()
    assert [(v.source.id, v.target.id) for v in plan.volumes] == [("vb0", "v0"), ("vb1", "v1")]
    assert plan.stops_server
    assert plan.power_on


@pytest.mark.parametrize(("number", "code", "harm", "named"), CONDITIONS, ids=[str(c[0]) for c in CONDITIONS])
def test_each_condition_has_its_code_and_names_what_it_is_about(
    number: int, code: Code, harm: Callable[[Case], Case], named: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        harm(_good()).plan()
    assert refused.value.code is code
    assert [part for part in named if part not in refused.value.message] == []


@pytest.mark.parametrize(("first", "second"), list(combinations(CONDITIONS, 2)), ids=lambda c: str(c[0]))
def test_the_first_condition_that_does_not_hold_gives_the_answer(
    first: tuple[int, Code, Callable[[Case], Case], list[str]],
    second: tuple[int, Code, Callable[[Case], Case], list[str]],
) -> None:
    """Whatever else is wrong, in whichever order it went wrong."""
    for one, other in ((first, second), (second, first)):
        with pytest.raises(InvalidRequest) as refused:
            other[2](one[2](_good())).plan()
        with pytest.raises(InvalidRequest) as alone:
            first[2](_good()).plan()
        assert refused.value.code is first[1]
        assert refused.value.message == alone.value.message


def test_stopping_is_a_condition_only_for_a_server_that_runs() -> None:
    """Condition 19: a server that cannot be switched can be restored while it is stopped."""
    case = _good().on_server(can_stop=False, can_start=False).on_request(power_on=False)
    with pytest.raises(InvalidRequest) as refused:
        case.plan()
    assert refused.value.code is Code.SERVER_KIND_NOT_RESTORABLE
    assert not case.on_server(status=ServerStatus.STOPPED).plan().stops_server


def test_a_larger_disk_and_a_system_disk_on_a_data_disk_are_fine() -> None:
    case = _good().on_volume(0, size=40 * GIB, bootable=False)
    assert case.plan().volumes[0].target.size == 40 * GIB


def test_ids_are_compared_without_regard_to_case_where_both_are_uuids() -> None:
    case = _mapping(_good().on_volume(0, id=VolumeId(_UUID)), 0, volume_id=_UUID.upper())
    assert case.plan().volumes[0].target.id == _UUID


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ([], "at least one"),
        ([("a", "v"), ("a", "w")], "backup_id a appears 2 times"),
        ([("a", "v"), ("b", "v")], "volume_id v appears 2 times"),
        ([("a", _UUID.upper()), ("b", _UUID)], "volume_id ee27"),
    ],
)
def test_no_disk_stands_in_two_mappings(pairs: list[tuple[str, str]], named: str) -> None:
    """Condition 1."""
    with pytest.raises(InvalidRequest) as refused:
        check_distinct([Mapping(VolumeBackupId(a), VolumeId(b)) for a, b in pairs])
    assert refused.value.code is Code.WRONG_PARAMETER
    assert named in refused.value.message
