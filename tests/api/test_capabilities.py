"""Capability checks, quotas, servers and the status over HTTP."""

from dataclasses import replace
from typing import Any

import pytest
from tests.api.front import MIB, OTHER, PROJECT, PROVIDER, Front

from restead import __version__
from restead.domain.quota import QuotaLimits
from restead.domain.server import ServerStatus
from restead.service import Rules

_PATH = f"/providers/{PROVIDER}/resources/action"
_TYPE = "OS::Nova::Server"
_UNKNOWN = "0425ff70-e47c-4be8-a77f-435078f59165"


def test_each_server_that_is_asked_about_gets_one_answer_in_its_place(front: Front) -> None:
    """Also one that is asked about twice; a refusal is an entry, not an HTTP error; nothing changes."""
    good, bad = front.server(), front.server(name="web-2")
    front.cloud.put(replace(bad, status=ServerStatus.ERROR))
    asked = [(good.id, _TYPE), (bad.id, _TYPE), (_UNKNOWN, _TYPE), (good.id, "OS::Cinder::Volume"), (good.id, _TYPE)]
    body = {"check_protectable": [{"resource_id": id, "resource_type": type, "x": 1} for id, type in asked]}
    answer = front.post(_PATH, body)
    assert (answer.status, list(answer.json)) == (200, ["protectable"])
    found = answer.json["protectable"]
    assert [(entry["resource_id"], entry["resource_type"]) for entry in found] == asked
    assert [entry["result"] for entry in found] == [True, False, False, False, True]
    assert [entry["error_code"] for entry in found] == ["", "CSBS.6005", "CSBS.6000", "CSBS.6003", ""]
    assert [bool(entry["error_msg"]) for entry in found] == [False, True, True, True, False]
    assert front.submitted == []


def test_each_restore_that_is_asked_about_gets_the_finding_of_the_real_call(front: Front) -> None:
    server = front.server()
    small = front.server(20 * MIB, MIB, name="web-2")
    backup = front.backup_of(server)

    def entry(target: Any, **changes: object) -> dict[str, Any]:
        volumes = [{"backup_id": v.id, "volume_id": t.id} for v, t in zip(backup.volumes, target.volumes, strict=True)]
        inside = {"resource_id": target.id, "resource_type": _TYPE, "volumes": volumes}
        return {"checkpoint_item_id": backup.id, "target": inside | changes}

    asked = [
        entry(server),
        entry(small),
        entry(server, resource_type="OS::Ironic::Node"),
        entry(server) | {"checkpoint_item_id": _UNKNOWN},
        entry(server, volumes=entry(server)["target"]["volumes"][:1]),
    ]
    answer = front.post(_PATH, {"check_restorable": asked})
    assert (answer.status, list(answer.json)) == (200, ["restorable"])
    found = answer.json["restorable"]
    assert [entry["error_code"] for entry in found] == ["", "CSBS.6024", "CSBS.6013", "CSBS.3001", "CSBS.6018"]
    assert [entry["result"] for entry in found] == [True, False, False, False, False]
    assert [entry["resource_id"] for entry in found] == [server.id, small.id, server.id, server.id, server.id]
    assert str(5 * MIB) in found[1]["error_msg"]
    assert front.get("/restores").json == {"restores": []}


_GOOD = {"resource_id": "x", "resource_type": _TYPE}
_TARGET = {"resource_id": "x", "resource_type": _TYPE, "volumes": [{"backup_id": "a", "volume_id": "b"}]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"check_protectable": None},
        {"check_protectable": None, "check_restorable": None},
        {"check_protectable": [_GOOD], "check_restorable": [{"checkpoint_item_id": "i", "target": _TARGET}]},
        {"check_protectable": []},
        {"check_protectable": {}},
        {"check_protectable": [_GOOD] * 101},
        {"check_protectable": [None]},
        {"check_protectable": [{"resource_id": "x"}]},
        {"check_protectable": [{"resource_type": _TYPE}]},
        {"check_protectable": [_GOOD | {"resource_id": 5}]},
        {"check_protectable": [_GOOD | {"resource_type": None}]},
        {"check_restorable": []},
        {"check_restorable": [{"checkpoint_item_id": "i"}]},
        {"check_restorable": [{"target": _TARGET}]},
        {"check_restorable": [{"checkpoint_item_id": "i", "target": _TARGET | {"volumes": []}}]},
        {"check_restorable": [{"checkpoint_item_id": "i", "target": _TARGET | {"volumes": None}}]},
        {"check_restorable": [{"checkpoint_item_id": "i", "target": _TARGET | {"volumes": _TARGET["volumes"] * 2}}]},
        {"check_restorable": [{"checkpoint_item_id": "i", "targets": _TARGET}]},
    ],
    ids=lambda body: repr(body)[:60],
)
def test_a_question_that_is_none_is_a_wrong_parameter(shared_front: Front, body: object) -> None:
    answer = shared_front.post(_PATH, body)
    assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_one_of_the_two_questions_may_be_null(shared_front: Front) -> None:
    answer = shared_front.post(_PATH, {"check_protectable": [_GOOD] * 100, "check_restorable": None})
    assert len(answer.json["protectable"]) == 100


def test_quotas_tell_limits_and_use(database: str) -> None:
    front = Front(database, rules=Rules(quotas=QuotaLimits(backups=600)))
    front.backup_of(front.server(20 * MIB))
    assert front.get("/quotas").json == {
        "quotas": {
            "resources": [
                {"type": "backup_capacity", "unit": "GB", "quota": -1, "used": 1},
                {"type": "backups", "quota": 600, "used": 1},
            ]
        }
    }
    front.close()


def test_servers_can_be_found_by_id_or_name(front: Front) -> None:
    server = front.server(20 * MIB, 5 * MIB)
    front.server(name="theirs", project=OTHER)
    system, data = server.volumes
    front.cloud.put(replace(server, volumes=(replace(system, location="/srv/system.raw"), data),
                            tags=(("tier", "web"),)))  # fmt: skip
    expected = {
        "id": server.id,
        "name": "web-1",
        "status": "stopped",
        "zone": "nova",
        "volumes": [
            {"id": system.id, "name": "disk-0", "size": 20 * MIB, "bootable": True, "shared": False,
             "location": "/srv/system.raw"},
            {"id": data.id, "name": "disk-1", "size": 5 * MIB, "bootable": False, "shared": False,
             "location": ""},
        ],
        "can_start": True,
        "can_stop": True,
        "tags": [{"key": "tier", "value": "web"}],
    }
    assert front.get("/servers").json == {"servers": [expected]}
    for name in (server.id, server.id.upper(), "web-1"):
        assert front.get(f"/servers/{name}").json == {"server": expected}
    for name in ("theirs", _UNKNOWN, "WEB-1"):
        assert front.get(f"/servers/{name}").status == 404
    front.server(name="web-1")
    answer = front.get("/servers/web-1")
    assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_a_name_that_is_no_text_is_shown_all_the_same(front: Front) -> None:
    """A disk can be called by bytes that are no UTF-8: the answer is JSON whatever it is called."""
    server = front.server(MIB)
    front.cloud.put(replace(server, name="\udcff\x00ü", zone="\ud800"))
    assert front.get("/servers").json["servers"][0]["name"] == "\udcff\x00ü"


def test_the_status_tells_what_somebody_should_know(database: str) -> None:
    """Asked anew each time: a warning goes when its reason is gone."""
    warnings = ["the recovery key is kept nowhere else"]
    front = Front(database, warnings=lambda: tuple(warnings))
    rest = {"version": __version__, "stored": 0, "verification": None}
    assert front.get("/status").json == {"status": {**rest, "warnings": warnings}}
    warnings.clear()
    assert front.get("/status").json == {"status": {**rest, "warnings": []}}
    assert front.get("/status", token=None).status == 401
    assert front.get("/status", project=OTHER).status == 403
    assert PROJECT != OTHER
    front.close()
