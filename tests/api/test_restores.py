"""Restoration tasks over HTTP: the published request, every condition, the answer to the member."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.api.front import HOST, MIB, OTHER, PROJECT, PROVIDER, Front
from tests.lab import rows

from restead.domain.backup import Failure
from restead.domain.caller import Role
from restead.domain.errors import Code
from restead.domain.ids import VolumeBackupId, VolumeId
from restead.domain.server import Kind, ServerStatus
from restead.domain.states import Event, VolumeOutcome
from restead.records import backups, checkpoints, restores
from restead.records.tables import backups as backup_table
from restead.records.tables import checkpoints as checkpoint_table
from restead.records.tables import restores as restore_table
from restead.records.tables import volume_backups as volume_backup_table

PUBLISHED = """
{
  "restore": {
    "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
    "checkpoint_id": "a2b9fb53-2770-4fcd-9bad-6cadd56e6c09",
    "parameters": {
      "checkpoint_item_id": "504b7d59-c361-411f-9ed3-814f35d08e3d",
      "power_on": true,
      "targets": {
        "server_id": "f45c477a-57e5-465f-999f-d845083962db",
        "volumes": [
          {"backup_id": "bc118c24-3234-4afd-8423-d66d3d677649", "volume_id": "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"}
        ]
      }
    }
  }
}
"""
MEMBERS = {
    "id", "project_id", "provider_id", "checkpoint_id", "restore_target", "status", "parameters", "resources_status",
    "resources_reason", "created_at", "updated_at", "finished_at", "progress", "volumes", "fail_code",
    "safety_checkpoint_id", "undo_of", "stats",
}  # fmt: skip


def _published_backup(front: Front) -> None:
    """Make the published request's own server, disk, record, backup and disk backup exist."""
    server = front.server(4 * MIB, server_id="f45c477a-57e5-465f-999f-d845083962db",
                          volume_ids=["ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"])  # fmt: skip
    made = front.backup_of(server)
    with front.records.begin() as tx:
        checkpoint = checkpoints.checkpoint(tx, PROJECT, made.checkpoint_id)
        tx.connection.execute(volume_backup_table.delete())
        tx.connection.execute(backup_table.delete())
        tx.connection.execute(checkpoint_table.delete())
        checkpoints.add(tx, replace(checkpoint, id="a2b9fb53-2770-4fcd-9bad-6cadd56e6c09"))
        volume = replace(made.volumes[0], id="bc118c24-3234-4afd-8423-d66d3d677649")
        backups.add(tx, replace(made, id="504b7d59-c361-411f-9ed3-814f35d08e3d",
                                checkpoint_id="a2b9fb53-2770-4fcd-9bad-6cadd56e6c09", volumes=(volume,)))  # fmt: skip


def test_the_published_request_gets_the_published_answer(front: Front) -> None:
    """The request as it is published, with its own ids; the answer has exactly these members and values."""
    _published_backup(front)
    answer = front.post("/restores", PUBLISHED.encode())
    assert answer.status == 200
    assert list(answer.json) == ["restore"]
    restore = answer.json["restore"]
    assert set(restore) == MEMBERS
    assert restore["created_at"] == restore["updated_at"]
    for generated in ("id", "created_at", "updated_at"):
        assert isinstance(restore.pop(generated), str)
    server, disk = "f45c477a-57e5-465f-999f-d845083962db", "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"
    assert restore == {
        "project_id": PROJECT,
        "provider_id": PROVIDER,
        "checkpoint_id": "a2b9fb53-2770-4fcd-9bad-6cadd56e6c09",
        "restore_target": f"http://{HOST}/v1/",
        "status": "in_progress",
        "parameters": json.loads(PUBLISHED)["restore"]["parameters"],
        "resources_status": {f"OS::Nova::Server#{server}": "restoring", f"OS::Cinder::Volume#{disk}": "restoring"},
        "resources_reason": {},
        "finished_at": None,
        "progress": 0,
        "volumes": [{"backup_id": "bc118c24-3234-4afd-8423-d66d3d677649", "volume_id": disk, "outcome": "waiting",
                     "ranges": [], "progress": 0}],
        "fail_code": {},
        "safety_checkpoint_id": None,
        "undo_of": None,
        "stats": {"total": 4 * MIB, "kept": 0, "written": 0, "zeroed": 0, "fetched": 0, "saved": 0, "verified": 0,
                  "seconds_left": None, "bytes_per_second": 0},
    }  # fmt: skip
    assert front.submitted[-1:] == [_run_of_the_only_restore(front)]


def _run_of_the_only_restore(front: Front) -> str:
    with front.records.read() as tx:
        return str(tx.connection.execute(restore_table.select()).one().run_id)


def test_what_other_clients_send_besides_is_ignored_and_never_kept(front: Front) -> None:
    """`restore_auth` is dropped on arrival; unknown members are ignored at every level; nothing of it is echoed."""
    server = front.server()
    body = front.restore_body(front.backup_of(server), server, extra="x", parameters={})
    body["restore"] |= {"restore_auth": {"password": "s3cret-word"}, "extra-info": 1, "restore_target": None}
    body["restore"]["parameters"]["targets"] |= {"resource_type": "OS::Something::Else", "x": []}
    body["restore"]["parameters"]["targets"]["volumes"][0]["note"] = "n"
    body["trigger_id"] = None
    answer = front.post("/restores", body)
    assert answer.status == 200
    parameters = answer.json["restore"]["parameters"]
    assert set(parameters) == {"checkpoint_item_id", "power_on", "targets"}
    assert set(parameters["targets"]) == {"server_id", "volumes"}
    assert set(parameters["targets"]["volumes"][0]) == {"backup_id", "volume_id"}
    assert "s3cret-word" not in str(rows.everything(front.records))


@pytest.mark.parametrize("sent", ["http://192.168.1.2:35357/v2.0/", "", "x" * 255])
def test_a_restore_target_is_echoed(front: Front, sent: str) -> None:
    server = front.server()
    body = front.restore_body(front.backup_of(server), server)
    body["restore"]["restore_target"] = sent
    restore = front.post("/restores", body).json["restore"]
    assert restore["restore_target"] == sent
    assert front.get(f"/restores/{restore['id']}").json["restore"]["restore_target"] == sent


def test_a_restore_target_that_was_not_sent_is_the_identity_service_or_ourselves(database: str) -> None:
    """It is never null, and it stays what it was when the restore was made."""
    for settings, expected in (
        ({"identity_url": "https://identity.test/v3"}, "https://identity.test/v3"),
        ({"base_url": "https://backup.test/prefix/"}, "https://backup.test/prefix/v1/"),
        ({}, f"http://{HOST}/v1/"),
    ):  # fmt: skip
        front = Front(database, **settings)
        server = front.server()
        restore = front.post("/restores", front.restore_body(front.backup_of(server), server)).json["restore"]
        assert restore["restore_target"] == expected
        assert front.get(f"/restores/{restore['id']}").json["restore"]["restore_target"] == expected
        front.close()


def test_extensions_that_were_sent_are_echoed(front: Front) -> None:
    """Those that are not supported yet may be sent as what they are without being sent."""
    server = front.server()
    sent = {"allow_partial": False, "safety": False, "salvage": False, "verify": "stream"}
    body = front.restore_body(front.backup_of(server), server, **sent)
    parameters = front.post("/restores", body).json["restore"]["parameters"]
    assert {name: parameters[name] for name in sent} == sent


def test_an_extension_that_is_null_was_not_sent(front: Front) -> None:
    server = front.server()
    nothing = {"allow_partial": None, "safety": None, "salvage": None, "verify": None}
    answer = front.post("/restores", front.restore_body(front.backup_of(server), server, **nothing))
    assert set(answer.json["restore"]["parameters"]) == {"checkpoint_item_id", "power_on", "targets"}


def test_the_extensions_of_a_restore_reach_the_service_and_are_echoed(front: Front) -> None:
    """One disk of two, nothing kept for undoing, everything read back."""
    server = front.server()
    sent = {"allow_partial": True, "safety": False, "salvage": True, "verify": "readback"}
    body = front.restore_body(front.backup_of(server), server, **sent)
    del body["restore"]["parameters"]["targets"]["volumes"][1]
    answer = front.post("/restores", body).json["restore"]
    assert sent == {name: answer["parameters"][name] for name in sent}
    with front.records.read() as tx:
        request = restores.restore(tx, PROJECT, answer["id"]).request
    assert (request.allow_partial, request.safety, request.readback) == (True, False, True)


def _set(path: str, value: object) -> Any:
    """Return a change of a body: the member at *path* becomes *value*, or goes if it is `...`."""

    def change(body: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = body
        for step in way:
            at = at[int(step) if step.isdigit() else step]
        if value is ...:
            del at[last]
        else:
            at[last] = value

    return change


_P, _T, _V = "restore.parameters", "restore.parameters.targets", "restore.parameters.targets.volumes"
_SHAPES = [
    (path, value)
    for path, values in {
        "restore": [..., None, [], "x", 1],
        "restore.provider_id": [..., None, 1, "", "another"],
        "restore.checkpoint_id": [..., None, 5, "", "nul\0", "\ud800", "x" * 256, {}],
        "restore.restore_target": [5, {}, "x" * 256, "a\0b"],
        _P: [..., None, [], "{}"],
        f"{_P}.checkpoint_item_id": [..., None, True, [], ""],
        f"{_P}.power_on": [..., None, "true", "True", 1, 0, "yes", {}],
        f"{_P}.allow_partial": ["false", 0, {}],
        f"{_P}.safety": ["true", 1, []],
        f"{_P}.salvage": ["false", 0],
        f"{_P}.verify": ["", "Stream", True, []],
        _T: [..., None, [], [{}]],
        f"{_T}.server_id": [..., None, 7, ""],
        _V: [..., None, [], {}, "x", [None], [[]], ["x"]],
        f"{_V}.0.backup_id": [..., None, 1],
        f"{_V}.0.volume_id": [..., None, False],
    }.items()
    for value in values
]


@pytest.mark.parametrize(("path", "value"), _SHAPES, ids=lambda case: repr(case)[:40])
def test_a_member_of_the_wrong_shape_is_named_and_refused(shared_front: Front, path: str, value: object) -> None:
    """Condition 1 and 2; booleans are JSON booleans here and nothing else."""
    body = json.loads(PUBLISHED)
    _set(path, value)(body)
    answer = shared_front.post("/restores", body)
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    assert path.split(".")[-1] in answer.message


def test_a_disk_or_disk_backup_in_two_mappings_is_refused(shared_front: Front) -> None:
    """Also when it differs only in case."""
    for change in ("backup_id", "volume_id"):
        body = json.loads(PUBLISHED)
        volumes = body["restore"]["parameters"]["targets"]["volumes"]
        second = {"backup_id": "x", "volume_id": "y"} | {change: volumes[0][change].upper()}
        volumes.append(second)
        answer = shared_front.post("/restores", body)
        assert (answer.status, answer.code) == (400, "CSBS.9001")
        assert change in answer.message
        assert "2 times" in answer.message


class Scene:
    """A good restore and what can be wrong with it, from condition 3 on."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.server = front.server()
        self.target = front.server(20 * MIB, 5 * MIB, name="web-2")
        self.backup = front.backup_of(self.server)
        self.body = front.restore_body(self.backup, self.target)

    def change(self, **changes: Any) -> None:
        self.front.cloud.put(replace(self.target, **changes))

    def change_disk(self, number: int, **changes: Any) -> None:
        volumes = list(self.target.volumes)
        volumes[number] = replace(volumes[number], **changes)
        self.change(volumes=tuple(volumes))

    def other_item(self) -> None:
        second = self.front.backup_of(self.server)
        self.body["restore"]["parameters"]["checkpoint_item_id"] = second.id

    def item_of_another_project(self) -> None:
        token = self.front.token_of(Role.MEMBER, OTHER)
        server = self.front.server(name="theirs", project=OTHER)
        path = f"/providers/{PROVIDER}/resources/{server.id}/action"
        made = self.front.post(path, {"protect": {}}, token=token, project=OTHER).json["checkpoint"]
        theirs = self.front.finish_backup(made["id"])
        self.body["restore"]["checkpoint_id"] = theirs.checkpoint_id
        self.body["restore"]["parameters"]["checkpoint_item_id"] = theirs.id

    def in_error(self) -> None:
        made = self.front.protect(self.server).json["checkpoint"]
        failed = self.front.finish_backup(made["id"], Failure(Code.UNAVAILABLE, "the disk was gone"))
        self.body = self.front.restore_body(failed, self.target)

    def under_way(self) -> None:
        other = self.front.backup_of(self.server)
        assert self.front.post("/restores", self.front.restore_body(other, self.target)).status == 200

    def swap(self) -> None:
        volumes = self.body["restore"]["parameters"]["targets"]["volumes"]
        volumes[0]["volume_id"], volumes[1]["volume_id"] = volumes[1]["volume_id"], volumes[0]["volume_id"]


_UNKNOWN = "0425ff70-e47c-4be8-a77f-435078f59165"
CONDITIONS = {
    "3 no such record": (lambda s: _set("restore.checkpoint_id", _UNKNOWN)(s.body), 404, "CSBS.3001"),
    "3 no such item": (lambda s: _set(f"{_P}.checkpoint_item_id", _UNKNOWN)(s.body), 404, "CSBS.3001"),
    "3 item of another record": (Scene.other_item, 404, "CSBS.3001"),
    "3 item of another project": (Scene.item_of_another_project, 404, "CSBS.3001"),
    "4 backup in error": (Scene.in_error, 400, "CSBS.4000"),
    "4 backup being made": (lambda s: _begin(s), 400, "CSBS.4000"),
    "6 no such server": (lambda s: _set(f"{_T}.server_id", _UNKNOWN)(s.body), 400, "CSBS.6000"),
    "7 bare metal": (lambda s: s.change(kind=Kind.BARE_METAL), 400, "CSBS.6016"),
    "8 another architecture": (lambda s: s.change(architecture="aarch64"), 400, "CSBS.6019"),
    "9 busy": (lambda s: s.change(status=ServerStatus.BUSY), 400, "CSBS.6015"),
    "9 in error": (lambda s: s.change(status=ServerStatus.ERROR), 400, "CSBS.6015"),
    "9 being deleted": (lambda s: s.change(status=ServerStatus.DELETING), 400, "CSBS.6015"),
    "10 another restore": (Scene.under_way, 400, "CSBS.6015"),
    "10 a backup of it": (lambda s: s.front.protect(s.target), 400, "CSBS.6015"),
    "11 no disk": (lambda s: s.change(volumes=()), 400, "CSBS.6020"),
    "12 not in the item": (lambda s: _set(f"{_V}.0.backup_id", _UNKNOWN)(s.body), 400, "CSBS.6017"),
    "13 not mapped": (lambda s: s.body["restore"]["parameters"]["targets"]["volumes"].pop(), 400, "CSBS.6018"),
    "14 not attached": (lambda s: _set(f"{_V}.1.volume_id", _UNKNOWN)(s.body), 400, "CSBS.6014"),
    "15 shareable": (lambda s: s.change_disk(1, shared=True), 400, "CSBS.6021"),
    "16 data to system disk": (Scene.swap, 400, "CSBS.6023"),
    "17 too small": (lambda s: s.change_disk(1, size=5 * MIB - 512), 400, "CSBS.6024"),
    "19 cannot be started": (lambda s: s.change(can_start=False), 400, "CSBS.6016"),
    "19 cannot be stopped": (lambda s: s.change(can_stop=False, status=ServerStatus.RUNNING), 400, "CSBS.6016"),
}


def _begin(scene: Scene) -> None:
    made = scene.front.protect(scene.server).json["checkpoint"]
    with scene.front.records.read() as tx:
        scene.body = scene.front.restore_body(backups.of_checkpoint(tx, made["id"])[0], scene.target)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_does_not_hold_gives_its_code_and_changes_nothing(front: Front, condition: str) -> None:
    wrong, status, code = CONDITIONS[condition]
    scene = Scene(front)
    wrong(scene)
    before = _everything(front)
    answer = front.post("/restores", scene.body)
    assert (answer.status, answer.code) == (status, code), answer.json
    assert _everything(front) == before


def _everything(front: Front) -> list[object]:
    with front.records.read() as tx:
        tables = (restore_table, backup_table, checkpoint_table, volume_backup_table)
        rows = [list(tx.connection.execute(table.select())) for table in tables]
    return [*rows, list(front.submitted)]


def test_both_numbers_are_in_the_message_about_a_small_disk(front: Front) -> None:
    scene = Scene(front)
    scene.change_disk(1, size=5 * MIB - 512)
    message = front.post("/restores", scene.body).message
    assert str(5 * MIB - 512) in message
    assert str(5 * MIB) in message
    assert scene.target.volumes[1].id in message


def test_what_cannot_be_reached_is_503_with_a_time_to_come_back(front: Front) -> None:
    """Also before conditions that could be told without it: nothing is decided on half of what is needed."""
    from restead.domain.errors import Unavailable

    scene = Scene(front)

    def out(_operation: str) -> None:
        raise Unavailable("the cloud does not answer", detail="10.0.0.7 timed out")

    front.cloud.before = out
    answer = front.post("/restores", scene.body)
    assert (answer.status, answer.code) == (503, "CSBS.9998")
    assert int(answer.headers["retry-after"]) > 0
    assert "10.0.0.7" not in answer.content.decode()


def test_a_finished_restore_tells_how_it_ended(front: Front) -> None:
    scene = Scene(front)
    restore = front.post("/restores", scene.body).json["restore"]
    with front.records.begin() as tx:
        for number in range(2):
            restores.move_volume(tx, restore["id"], number, Event.BEGIN)
            restores.move_volume(tx, restore["id"], number, Event.RESTORED, progress=100)
    front.finish_restore(restore["id"], progress=100)
    shown = front.get(f"/restores/{restore['id']}").json["restore"]
    assert shown["status"] == "success"
    assert set(shown["resources_status"].values()) == {"available"}
    assert shown["resources_reason"] == {}
    assert shown["finished_at"] == shown["updated_at"]


def test_a_failed_restore_tells_which_disk_failed_where_and_why(front: Front) -> None:
    """Every target that failed has a reason and no other has; ranges are pairs of bytes."""
    scene = Scene(front)
    restore = front.post("/restores", scene.body).json["restore"]
    with front.records.begin() as tx:
        restores.move_volume(tx, restore["id"], 0, Event.BEGIN)
        restores.move_volume(tx, restore["id"], 0, Event.FAILED, ranges=((4096, 512),), reason="bytes are damaged")
        restores.move_volume(tx, restore["id"], 1, Event.LEFT_ALONE)
    failure = Failure(Code.INTERNAL, "bytes 4096 to 4608 are damaged in the repository")
    front.finish_restore(restore["id"], Event.FAILED, failure=failure, progress=40,
                         server_reason="left stopped: its disks are not consistent")  # fmt: skip
    shown = front.get(f"/restores/{restore['id']}").json["restore"]
    server, first, second = (f"OS::Nova::Server#{scene.target.id}",
                             *(f"OS::Cinder::Volume#{v.id}" for v in scene.target.volumes))  # fmt: skip
    assert shown["status"] == "fail"
    assert shown["resources_status"] == {server: "error", first: "error", second: "error"}
    assert shown["resources_reason"] == {
        server: "left stopped: its disks are not consistent",
        first: "bytes are damaged",
        second: "bytes 4096 to 4608 are damaged in the repository",
    }
    assert [v["outcome"] for v in shown["volumes"]] == [VolumeOutcome.DAMAGED, VolumeOutcome.UNTOUCHED]
    assert shown["volumes"][0]["ranges"] == [[4096, 512]]
    assert shown["fail_code"] == {"Code": "9999", "Description": failure.message}


def test_restores_are_listed_by_what_they_are_about(front: Front) -> None:
    scene = Scene(front)
    first = front.post("/restores", scene.body).json["restore"]
    front.finish_restore(first["id"])
    second = front.post("/restores", front.restore_body(scene.backup, scene.server)).json["restore"]
    listed = lambda query: [r["id"] for r in front.get(f"/restores{query}").json["restores"]]  # noqa: E731
    assert listed("") == [second["id"], first["id"]]
    assert listed("?status=success") == [first["id"]]
    assert listed("?status=fail") == []
    assert listed(f"?server_id={scene.server.id.upper()}") == [second["id"]]
    assert listed(f"?checkpoint_item_id={scene.backup.id}&sort=created_at:asc") == [first["id"], second["id"]]
    assert listed(f"?checkpoint_id={_UNKNOWN}") == []
    assert front.get("/restores?status=done").code == "CSBS.9001"


def test_a_restore_that_is_not_there_or_not_ours_is_not_found(front: Front) -> None:
    scene = Scene(front)
    made = front.post("/restores", scene.body).json["restore"]
    theirs = front.token_of(Role.MEMBER, OTHER)
    for path, options in (
        (f"/restores/{_UNKNOWN}", {}),
        ("/restores/not-even-an-id", {}),
        (f"/restores/{made['id']}", {"token": theirs, "project": OTHER}),
    ):
        answer = front.get(path, **options)
        assert (answer.status, answer.code) == (404, "CSBS.6040")
    assert front.get(f"/restores/{made['id'].upper()}").status == 200


def test_of_many_restores_at_once_one_is_accepted(front: Front) -> None:
    """Onto one server, from several backups, at the same moment: one reservation, and the others are told why not."""
    scene = Scene(front)
    sources = [scene.backup] + [front.backup_of(scene.server) for _ in range(3)]
    answers = front.at_once([("POST", "/restores", front.restore_body(source, scene.target)) for source in sources])
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]
    assert {answer.code for answer in answers if answer.status == 400} == {"CSBS.6015"}
    assert len(front.get("/restores").json["restores"]) == 1


def test_ids_of_servers_and_disks_are_compared_without_regard_to_case(front: Front) -> None:
    scene = Scene(front)
    targets = scene.body["restore"]["parameters"]["targets"]
    targets["server_id"] = targets["server_id"].upper()
    for mapping in targets["volumes"]:
        mapping["volume_id"] = VolumeId(mapping["volume_id"].upper())
        mapping["backup_id"] = VolumeBackupId(mapping["backup_id"].upper())
    answer = front.post("/restores", scene.body)
    assert answer.status == 200, answer.json
