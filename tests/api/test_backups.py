"""Backups over HTTP: begun, listed by every filter, shown member by member, deleted."""

import itertools
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.api.front import MIB, OTHER, PROJECT, PROVIDER, Front

from restead.api import backup_view
from restead.domain.backup import BackupRules, Failure
from restead.domain.caller import Role
from restead.domain.errors import Code
from restead.domain.quota import QuotaLimits
from restead.domain.server import Kind, Server, ServerStatus
from restead.domain.states import BackupState, Event
from restead.records import backups
from restead.service import Rules

_UNKNOWN = "0425ff70-e47c-4be8-a77f-435078f59165"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


def test_a_backup_begins_with_a_record(front: Front) -> None:
    """The published answer to the published request, member by member."""
    server = front.server()
    answer = front.protect(server, backup_name="before-upgrade", description="web1 before 2.2.1", incremental=True,
                           tags=[{"key": "stage", "value": "prod"}])  # fmt: skip
    assert answer.status == 200
    assert list(answer.json) == ["checkpoint"]
    checkpoint = answer.json["checkpoint"]
    assert _TIME.fullmatch(checkpoint["created_at"])
    assert checkpoint.pop("created_at") == checkpoint.pop("updated_at")
    id, plan_id = checkpoint.pop("id"), checkpoint["protection_plan"].pop("id")
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", id)
    assert re.fullmatch(r"fake_[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", plan_id)
    assert checkpoint == {
        "project_id": PROJECT,
        "status": "protecting",
        "protection_plan": {
            "name": f"server protect plan for {server.id}",
            "resources": [{"id": server.id, "type": "OS::Nova::Server", "name": "web-1", "extra_info": {}}],
        },
        "extra_info": None,
    }
    assert len(front.submitted) == 1


def test_the_item_of_a_new_backup_can_be_read_at_once(front: Front) -> None:
    """By its record's id, in the list, and by its own."""
    made = front.protect(front.server()).json["checkpoint"]
    listed = front.get(f"/checkpoint_items?checkpoint_id={made['id']}").json["checkpoint_items"]
    assert [item["status"] for item in listed] == ["protecting"]
    for id in (made["id"], listed[0]["id"], made["id"].upper()):
        assert front.get(f"/checkpoint_items/{id}").json == {"checkpoint_item": listed[0]}
    assert listed[0]["protected_at"] is None
    info = listed[0]["extend_info"]
    assert (info["progress"], info["finished_at"], info["supported_restore_mode"]) == (0, None, "na")
    assert (info["average_speed"], info["space_saving_ratio"], info["size"]) == (0, 0, 0)
    assert re.fullmatch(r"manualbk_[0-9a-f]{4}", listed[0]["name"])


def test_a_finished_backup_shows_every_member(front: Front) -> None:
    server = front.server(20 * MIB, 5 * MIB, region="", public_address="198.51.100.4")
    backup = front.backup_of(server, backup_name="before-upgrade", description="d",
                             tags=[{"key": " stage ", "value": " prod "}])  # fmt: skip
    item = front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]
    for name in ("created_at", "updated_at", "protected_at"):
        assert _TIME.fullmatch(item.pop(name))
    assert _TIME.fullmatch(item["extend_info"].pop("finished_at"))
    volume = {
        "status": "available", "image_type": "backup", "incremental": False, "space_saving_ratio": 50,
        "snapshot_id": None, "source_volume_size": 1,
    }  # fmt: skip
    system, data = server.volumes
    assert item == {
        "id": backup.id,
        "checkpoint_id": backup.checkpoint_id,
        "name": "before-upgrade",
        "description": "d",
        "status": "available",
        "resource_id": server.id,
        "resource_type": "OS::Nova::Server",
        "backup_data": {
            "__openstack_region_name": "", "cloudservicetype": "QEMU", "disk": 0, "imagetype": "", "ram": 4096,
            "vcpus": 2, "eip": "198.51.100.4", "private_ip": "192.0.2.17",
        },
        "extend_info": {
            "auto_trigger": False, "average_speed": 12800, "copy_from": None, "copy_status": "na", "fail_code": {},
            "fail_op": "", "fail_reason": "", "image_type": "backup", "incremental": False, "progress": 100,
            "resource_az": "nova", "resource_name": "web-1", "resource_type": "OS::Nova::Server", "size": 13,
            "space_saving_ratio": 50,
            "volume_backups": [
                volume | {"id": backup.volumes[0].id, "name": "before-upgrade_disk-0", "bootable": True, "size": 10,
                          "average_speed": 10, "source_volume_id": system.id, "source_volume_name": "disk-0"},
                volume | {"id": backup.volumes[1].id, "name": "before-upgrade_disk-1", "bootable": False, "size": 3,
                          "average_speed": 3, "source_volume_id": data.id, "source_volume_name": "disk-1"},
            ],
            "os_images_data": [], "taskid": backup.run_id, "hypervisor_type": "QEMU",
            "supported_restore_mode": "backup", "support_lld": False, "consistency": "offline",
                "held_until": None,
                "guest_pause_us": None,
        },
        "tags": [{"key": "stage", "value": "prod"}],
    }  # fmt: skip


def test_sizes_are_whole_numbers_and_disks_are_rounded_up(front: Front) -> None:
    backup = front.backup_of(front.server(512))
    volumes = tuple(replace(v, size=2**30 + 1, stored=3 * MIB // 2, bytes_per_second=MIB // 2 - 1)
                    for v in backup.volumes)  # fmt: skip
    view = backup_view.view(replace(backup, volumes=volumes))["extend_info"]["volume_backups"][0]
    assert (view["source_volume_size"], view["size"], view["average_speed"]) == (2, 2, 0)


def test_a_backup_is_incremental_only_if_all_its_disks_are(front: Front) -> None:
    backup = front.backup_of(front.server())
    for flags, expected in (((True, True), True), ((True, False), False), ((False, False), False), ((), False)):
        volumes = tuple(replace(v, incremental=f) for v, f in zip(backup.volumes, flags, strict=False))
        assert backup_view.view(replace(backup, volumes=volumes))["extend_info"]["incremental"] is expected


def test_a_failed_backup_says_what_failed_and_why(front: Front) -> None:
    made = front.protect(front.server()).json["checkpoint"]
    backup = front.finish_backup(made["id"], Failure(Code.SERVER_NOT_FOUND, "the server was gone"))
    item = front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]
    info = item["extend_info"]
    assert (item["status"], info["supported_restore_mode"]) == ("error", "na")
    assert info["fail_code"] == {"Code": "6000", "Description": "the server was gone"}
    assert (info["fail_op"], info["fail_reason"]) == ("backup", "the server was gone")
    assert front.get(f"/providers/{PROVIDER}/checkpoints/{made['id']}").json["checkpoint"]["status"] == "error"


def test_a_deleted_backup_is_never_shown(front: Front) -> None:
    """The words that make clients stop are never sent, not even by mistake."""
    backup = front.backup_of(front.server())
    with pytest.raises(AssertionError):
        backup_view.view(replace(backup, state=BackupState.DELETED))


_NAME, _DESCRIPTION = "backup_name", "description"
_WRONG = [
    ({_NAME: value} for value in ("a b", "ü", "x" * 256, "a.b", "a\n", 5, True, [], "a/b")),
    ({_DESCRIPTION: value} for value in ("a<b", "a>b", "x" * 256, "a\0", 1, "\ud800")),
    ({"incremental": value} for value in ("yes", "TRUE", "", 0, 1, [], "1", " true")),
    ({"resource_type": value} for value in (5, [], "x" * 256)),
    ({"consistency": value} for value in ("", "Best", "crash", 1, [])),
    ({"tags": value} for value in (
        [], {}, "x", [{}], [{"key": "a"}], [{"value": "b"}], [{"key": "", "value": ""}], [{"key": "a", "value": None}],
        [{"key": "x" * 37, "value": ""}], [{"key": "a", "value": "x" * 44}], [{"key": "a b", "value": ""}],
        [{"key": "a", "value": "1"}, {"key": "a ", "value": "2"}], [{"key": f"k{n}", "value": ""} for n in range(11)],
        [{"key": 1, "value": "x"}], [{"key": "a\n", "value": ""}])),
    ({"extra_info": value} for value in ([], "x", {"exclude_volumes": "x"}, {"exclude_volumes": [1]},
                                         {"exclude_volumes": ["unknown"]})),
]  # fmt: skip


@pytest.mark.parametrize("members", list(itertools.chain(*_WRONG)), ids=lambda members: repr(members)[:50])
def test_a_member_of_a_backup_that_cannot_be_is_named_and_refused(
    shared_front: Front, members: dict[str, object]
) -> None:
    server = _shared_server(shared_front)
    answer = shared_front.protect(server, **members)
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    named = "exclude_volumes" if members == {"extra_info": {"exclude_volumes": ["unknown"]}} else next(iter(members))
    assert named in answer.message


def _shared_server(front: Front) -> Server:
    return (front.cloud.servers(PROJECT) or [front.server()])[0]


_RIGHT: list[dict[str, Any]] = [
    {},
    {_NAME: "", _DESCRIPTION: ""},
    {_NAME: "x" * 255, _DESCRIPTION: "ü" * 255},
    {_NAME: None, _DESCRIPTION: None, "incremental": None, "tags": None, "consistency": None, "extra_info": None,
     "resource_type": None},
    {"incremental": "true"},
    {"incremental": "False"},
    {"consistency": "best"},
    {"consistency": "filesystem"},
    {"tags": [{"key": f"k{n}", "value": "x" * 43} for n in range(10)]},
    {"tags": [{"key": "a", "value": "", "more": 1}]},
    {"extra_info": {}},
    {"extra_info": {"exclude_volumes": None, "x": 1}},
    {"extra_info": {"exclude_volumes": []}},
    {"resource_type": "OS::Nova::Server", "graph": {"a": []}},
]  # fmt: skip


@pytest.mark.parametrize("members", _RIGHT, ids=lambda members: repr(members)[:50])
def test_a_member_of_a_backup_that_can_be_is_accepted(shared_front: Front, members: dict[str, object]) -> None:
    answer = shared_front.protect(_shared_server(shared_front), **members)
    assert answer.status == 200, answer.json
    backup = shared_front.finish_backup(answer.json["checkpoint"]["id"])
    assert backup.full == (members.get("incremental") == "False")


def test_disks_that_are_left_out_stand_in_the_plan(front: Front) -> None:
    server = front.server()
    answer = front.protect(server, extra_info={"exclude_volumes": [server.volumes[1].id]})
    resource = answer.json["checkpoint"]["protection_plan"]["resources"][0]
    assert resource["extra_info"] == {"exclude_volumes": [server.volumes[1].id]}
    backup = front.finish_backup(answer.json["checkpoint"]["id"])
    assert [volume.volume_id for volume in backup.volumes] == [server.volumes[0].id]


CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "being destroyed": ({"status": ServerStatus.DELETING}, {}, "CSBS.6001"),
    "of another type": ({}, {"resource_type": "OS::Cinder::Volume"}, "CSBS.6003"),
    "resizing": ({"status": ServerStatus.BUSY}, {}, "CSBS.6005"),
    "in error": ({"status": ServerStatus.ERROR}, {}, "CSBS.6005"),
    "running, and not readable then": ({"status": ServerStatus.RUNNING}, {}, "CSBS.6005"),
    "bare metal": ({"kind": Kind.BARE_METAL}, {}, "CSBS.6006"),
    "without a disk": ({"volumes": ()}, {}, "CSBS.6007"),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_server_that_cannot_be_backed_up_is_refused_with_its_code(front: Front, condition: str) -> None:
    changes, members, code = CONDITIONS[condition]
    server = front.server()
    front.cloud.put(replace(server, **changes))
    answer = front.protect(server, **members)
    assert (answer.status, answer.code) == (400, code)
    assert front.submitted == []
    assert front.get("/checkpoint_items/count").json == {"count": 0}


def test_a_server_that_is_not_there_or_busy_is_refused(front: Front) -> None:
    server = front.server()
    assert front.protect(replace(server, id=_UNKNOWN)).code == "CSBS.6000"
    front.protect(server)
    assert front.protect(server).code == "CSBS.6005"


def test_what_the_operator_forbids_is_refused(database: str) -> None:
    rules = Rules(backup=BackupRules(shared_disks=False), quotas=QuotaLimits(backups=1))
    front = Front(database, rules=rules)
    server = front.server()
    front.cloud.put(replace(server, volumes=(replace(server.volumes[0], shared=True),)))
    assert front.protect(server).code == "CSBS.6010"
    front.backup_of(front.server(name="web-2"))
    assert front.protect(front.server(name="web-3")).code == "CSBS.9006"
    front.close()


def test_backups_are_found_by_every_filter(front: Front) -> None:
    web = front.server(name="Web-1")
    db = front.server(MIB, name="db_1", zone="other", public_address="198.51.100.4", private_address="192.0.2.99")
    first = front.backup_of(web, backup_name="Alpha")
    second = front.backup_of(db, backup_name="beta")
    third = front.protect(web, backup_name="alphabet").json["checkpoint"]
    third_id = front.get(f"/checkpoint_items/{third['id']}").json["checkpoint_item"]["id"]
    at = lambda backup: backup.created_at.replace(tzinfo=None).isoformat()  # noqa: E731

    def found(query: str) -> set[str]:
        answer = front.get(f"/checkpoint_items?{query}")
        ids = {item["id"] for item in answer.json["checkpoint_items"]}
        assert front.get(f"/checkpoint_items/count?{query}").json == {"count": len(ids)}
        return ids

    a, b, c = first.id, second.id, third_id
    assert found("") == {a, b, c}
    assert found("status=available") == {a, b}
    assert found("status=protecting") == {c}
    for word in ("restoring", "error", "waiting_protect", "waiting_restore", "waiting_delete", "deleted", "deleting"):
        assert found(f"status={word}") == set()
    assert found("name=ALPHA") == {a, c}
    assert found("name=%25") == found("name=l_h") == set()
    assert found("resource_name=WEB") == {a, c}
    assert found("resource_name=_") == {b}
    assert found(f"resource_id={web.id.upper()}") == {a, c}
    assert found("resource_type=OS::Nova::Server") == {a, b, c}
    assert found("resource_type=x") == set()
    assert found("resource_type=x&resource_type=OS::Nova::Server") == {a, b, c}
    assert found(f"checkpoint_id={second.checkpoint_id}") == {b}
    assert found("policy_id=x") == set()
    assert found("az=other") == {b}
    assert found("ip=198.51.100.4") == found("ip=192.0.2.99") == {b}
    assert found("image_type=backup") == {a, b, c}
    assert found("image_type=x") == set()
    assert found(f"start_time={at(second)}") == {b, c}
    assert found(f"end_time={at(second)}Z") == {a, b}
    assert found(f"start_time={at(second)}&end_time={at(second)}&name=beta") == {b}
    assert found("start_time=2026-03-02T00:00:00&end_time=2026-03-02T00:00:00.5") == set()


@pytest.mark.parametrize(
    "value",
    ["", "x", "2026-03-02", "2026-13-02T00:00:00", "2026-02-30T00:00:00", "2026-03-02%2000:00:00",
     "2026-03-02T24:00:00", "0000-01-01T00:00:00", "2026-03-02T00:00:00%2B00:00", "2026-03-02T00:00:00.",
     "2026-03-02T00:00", "%D9%A22026-03-02T00:00:00", "9999-12-31T23:59:60", "2026-03-02T00:00:00%00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(shared_front: Front, value: str) -> None:
    for path in ("/checkpoint_items", "/checkpoint_items/count"):
        answer = shared_front.get(f"{path}?end_time={value}")
        assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_records_are_found_by_state_plan_and_day(front: Front) -> None:
    front.backup_of(front.server())
    path = f"/providers/{PROVIDER}/checkpoints"
    checkpoint = front.get(path).json["checkpoints"][0]
    day = checkpoint["created_at"][:10]
    assert front.get(f"{path}/{checkpoint['id']}").json == {"checkpoint": checkpoint}

    def count(query: str) -> int:
        return len(front.get(f"{path}?{query}").json["checkpoints"])

    assert count("status=available") == 1
    assert count("status=error") == count("status=deleted") == 0
    assert count(f"plan_id={checkpoint['protection_plan']['id']}") == 1
    assert count("plan_id=x") == 0
    assert count(f"start_date={day}&end_date={day}") == 1
    assert count(f"start_date={day}T23:59:59") == 0
    assert count("end_date=2026-01-01") == 0
    assert front.get(f"{path}?start_date=yesterday").code == "CSBS.9001"


def test_a_backup_that_is_not_there_or_not_ours_is_not_found(front: Front) -> None:
    backup = front.backup_of(front.server())
    theirs = {"token": front.token_of(Role.MEMBER, OTHER), "project": OTHER}
    record = f"/providers/{PROVIDER}/checkpoints/"
    for method, path, options in (
        ("GET", f"/checkpoint_items/{_UNKNOWN}", {}),
        ("GET", f"/checkpoint_items/{backup.id}", theirs),
        ("GET", f"/checkpoint_items/{backup.checkpoint_id}", theirs),
        ("GET", record + _UNKNOWN, {}),
        ("GET", record + backup.checkpoint_id, theirs),
        ("DELETE", record + _UNKNOWN, {}),
        ("DELETE", record + backup.checkpoint_id, theirs),
        ("DELETE", f"{record}{backup.checkpoint_id}?checkpoint_items={_UNKNOWN}", {}),
        ("DELETE", f"{record}{backup.checkpoint_id}?checkpoint_items={backup.id},{_UNKNOWN}", {}),
    ):
        answer = front.call(method, path, **options)
        assert (answer.status, answer.code) == (404, "CSBS.3001"), path
    assert front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]["status"] == "available"


@pytest.mark.parametrize(
    "chosen",
    ["", "?checkpoint_items={id}", "?checkpoint_items={id},{id}", "?checkpoint_items={id}&checkpoint_items={id}",
     "?checkpoint_items=%20{id}"],
)  # fmt: skip
def test_a_deleted_backup_is_deleting_at_once_and_then_gone(front: Front, chosen: str) -> None:
    backup = front.backup_of(front.server())
    answer = front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}"
                        + chosen.format(id=backup.id))  # fmt: skip
    assert (answer.status, answer.json) == (200, {})
    assert front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]["status"] == "deleting"
    assert front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}").code == "CSBS.2003"
    with front.records.begin() as tx:
        backups.move(tx, backup.id, Event.DELETED)
    assert front.get(f"/checkpoint_items/{backup.id}").code == "CSBS.3001"
    assert front.get(f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}").code == "CSBS.3001"
    assert front.get("/checkpoint_items?status=deleted").json == {"checkpoint_items": []}


@pytest.mark.parametrize("chosen", ["", ",", "{id},", " ", "%00"])
def test_an_empty_choice_never_means_all(front: Front, chosen: str) -> None:
    """Whoever means all leaves the parameter out."""
    backup = front.backup_of(front.server())
    query = "?checkpoint_items=" + chosen.format(id=backup.id).replace(" ", "%20")
    answer = front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}{query}")
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    assert front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]["status"] == "available"


def test_what_is_being_worked_on_is_not_deleted(front: Front) -> None:
    """400, never 409: one client breaks on that."""
    made = front.protect(front.server()).json["checkpoint"]
    answer = front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{made['id']}")
    assert (answer.status, answer.code) == (400, "CSBS.2003")


def test_the_speed_is_unknown_until_the_end(front: Front) -> None:
    backup = front.backup_of(front.server())
    assert backup.protected_at is not None
    for finished in (None, backup.protected_at, backup.protected_at - timedelta(seconds=1)):
        assert backup_view.view(replace(backup, finished_at=finished))["extend_info"]["average_speed"] == 0


def test_a_backup_is_held_over_the_api(front: Front) -> None:
    """The answer is the backup; what is past, shorter or no time is refused by name, and so is its deletion."""
    backup = front.backup_of(front.server(MIB))
    path = f"/checkpoint_items/{backup.id}/action"
    held = front.post(path, {"hold": {"until": "2027-03-02T00:00:00"}})
    assert held.status == 200
    assert held.json["checkpoint_item"]["extend_info"]["held_until"] == "2027-03-02T00:00:00.000000"
    assert front.get(f"/checkpoint_items/{backup.id}").json == held.json
    for until in ("2027-03-01T23:59:59", "2020-01-01T00:00:00", "2027-13-01T00:00:00", "", "soon"):
        refused = front.post(path, {"hold": {"until": until}})
        assert (refused.status, refused.code, refused.message[:10]) == (400, "CSBS.9001", "hold.until"), until
    for body in ({}, {"hold": {}}, {"hold": None}, {"hold": {"until": 5}}):
        assert front.post(path, body).code == "CSBS.9001"
    deleted = front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}")
    assert (deleted.status, deleted.code) == (400, "CSBS.2003")
    assert front.post("/checkpoint_items/none/action", {"hold": {"until": "2027-03-02T00:00:00"}}).code == "CSBS.3001"
