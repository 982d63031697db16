"""The conditions of CSBS section 5: each with its code, in their order; and what a plan holds."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from restead.domain.backup import BackupPlan, BackupRequest, BackupRules, plan_backup
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.domain.quota import Quota, QuotaLimits, check_quotas, quotas
from restead.domain.server import Kind, Server, ServerStatus, Volume

_VOLUMES = (Volume(VolumeId("v0"), "root", 10, bootable=True), Volume(VolumeId("v1"), "data", 20, shared=True))
_SERVER = Server(ServerId("s"), ProjectId("p"), "web", ServerStatus.STOPPED, _VOLUMES)
_REQUEST = BackupRequest(ServerId("s"))


def _plan(
    server: Server | None = _SERVER, request: BackupRequest = _REQUEST, busy: str | None = None, shared: bool = True
) -> BackupPlan:
    return plan_backup(request, server, busy=busy, rules=BackupRules(shared_disks=shared))


def test_all_disks_are_backed_up() -> None:
    assert _plan().volumes == _VOLUMES


def test_excluded_disks_are_left_out_of_plan_and_server() -> None:
    plan = _plan(request=replace(_REQUEST, excluded=(VolumeId("v1"),)))
    assert plan.volumes == plan.server.volumes == _VOLUMES[:1]


@pytest.mark.parametrize(
    ("code", "named", "plan"),
    [
        (Code.TYPE_NOT_PROTECTABLE, "x", lambda: _plan(None, replace(_REQUEST, server_type="x"))),
        (Code.SERVER_NOT_FOUND, "server s", lambda: _plan(None)),
        (Code.SERVER_BEING_DESTROYED, "server s", lambda: _plan(replace(_SERVER, status=ServerStatus.DELETING))),
        (Code.SERVER_STATE_FORBIDS_BACKUP, "error", lambda: _plan(replace(_SERVER, status=ServerStatus.ERROR))),
        (Code.SERVER_STATE_FORBIDS_BACKUP, "backup 1", lambda: _plan(busy="backup 1 is under way")),
        (Code.SERVER_STATE_FORBIDS_BACKUP, "stop it", lambda: _plan(replace(_SERVER, status=ServerStatus.RUNNING))),
        (Code.SERVER_KIND_NOT_PROTECTABLE, "bare_metal", lambda: _plan(replace(_SERVER, kind=Kind.BARE_METAL))),
        (Code.SERVER_KIND_NOT_PROTECTABLE, "disks on far", lambda: _plan(replace(_SERVER, disks_at="far"))),
        (Code.NO_DISK_TO_BACK_UP, "server s", lambda: _plan(replace(_SERVER, volumes=()))),
        (Code.NO_DISK_TO_BACK_UP, "every disk of server",
         lambda: _plan(request=replace(_REQUEST, excluded=(VolumeId("v0"), VolumeId("v1"))))),
        (Code.WRONG_PARAMETER, "v9", lambda: _plan(request=replace(_REQUEST, excluded=(VolumeId("v9"),)))),
        (Code.SHARED_DISK, "v1", lambda: _plan(shared=False)),
    ],
)  # fmt: skip
def test_each_condition_has_its_code(code: Code, named: str, plan: Callable[[], object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan()
    assert refused.value.code is code
    assert named in refused.value.message


def test_a_shared_disk_that_is_left_out_is_no_obstacle() -> None:
    plan = _plan(request=replace(_REQUEST, excluded=(VolumeId("v1"),)), shared=False)
    assert [volume.id for volume in plan.volumes] == ["v0"]


def test_a_running_server_can_be_backed_up_where_its_driver_can() -> None:
    running = replace(_SERVER, status=ServerStatus.RUNNING, can_back_up_running=True)
    assert _plan(running).server == running


def test_quotas_count_bytes_in_gib_rounded_up() -> None:
    assert quotas(QuotaLimits(), backups=3, stored=2**30 + 1) == (
        Quota("backup_capacity", -1, 2, unit="GB"), Quota("backups", -1, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "named"),
    [(QuotaLimits(backups=2), "quota backups of the project is 2 and 2 are used"),
     (QuotaLimits(capacity=1), "quota backup_capacity of the project is 1 GB and 1.5 GB are used")],
)  # fmt: skip
def test_a_full_quota_refuses_with_both_numbers(limits: QuotaLimits, named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_quotas(limits, backups=2, stored=3 * 2**29)
    assert refused.value.code is Code.QUOTA_EXCEEDED
    assert named in refused.value.message


def test_unlimited_quotas_never_refuse() -> None:
    check_quotas(QuotaLimits(), backups=10**9, stored=10**18)
