"""huaweicloud-sdk-python, the hosted service's own client program, works with restead unchanged.

It logs in to Keystone and finds the service in the catalog, or is led there by its variable of the environment.  All
its calls of the service are made: the five of its front (`conn.csbs`), and those of its classes that have none there.
What its classes read in the answers is what the service holds.
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.app.running import PROVIDER
from tests.judges.cloud import Cloud, cloud
from tests.judges.conftest import Judge
from tests.lab.keystone import PASSWORD

_NOBODY = "00000000-0000-4000-8000-000000000000"
_TYPE = "OS::Nova::Server"

# A name that Python 3.10 took away is put back: the program is of 2020.
_START = """
import collections, collections.abc, json, sys
collections.MutableMapping = collections.abc.MutableMapping
from openstack import connection, exceptions
from openstack.csbs.v1.policy import Policy
from openstack.csbs.v1.resource import ResourceBackup, ResourceBackupCapability, ResourceRecoveryCapability

auth_url, project_id, password, provider, *words = sys.argv[1:]
wanted = json.loads(words.pop(0))
conn = connection.Connection(
    auth_url=auth_url, user_domain_id="default", project_id=project_id, username="alice", password=password
)
session = conn.session

def say(**found):
    print(json.dumps(found, default=lambda one: one.to_dict(headers=False)))
"""


@pytest.fixture(scope="module")
def lab(judges: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("huawei")) as found:
        yield found


class Huawei(Judge):
    def __init__(self, lab: Cloud, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(".venv-judges-huawei", lab.protected.running, environment or {})
        self._login = (lab.identity.url, lab.project_id, PASSWORD, PROVIDER)

    def says(self, program: str, wanted: object = None, *words: str) -> Any:
        return self.python(_START + program, *self._login, json.dumps(wanted), *words)


def read(seen: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an object of the client has to hold of an answer: the members that its class knows."""
    return {name: body.get(name) for name in seen}


_READS = """
say(
    one=conn.csbs.get_checkpoint_item(words[0]),
    all=list(conn.csbs.checkpoint_items()),
    found=[[one.id for one in conn.csbs.checkpoint_items(**each)] for each in wanted],
    counted=[conn.csbs.get_checkpoint_item_count(**each).count for each in wanted],
    of_type=conn.csbs.get_checkpoint_item_count(resource_type="OS::Nova::Server").count,  # it cannot list by it
)
"""
_LED = "OS_DATA_PROTECT_ENDPOINT_OVERRIDE"


@pytest.mark.parametrize("led", [False, True], ids=["by the catalog", "by its variable"])
def test_backups_are_shown_listed_and_counted(lab: Cloud, *, led: bool) -> None:
    """Every filter that the client knows means here what it says."""
    running, backup = lab.protected.running, lab.protected.backup
    matching: list[dict[str, Any]] = [
        {"status": "available"}, {"name": backup["name"][-5:]}, {"resource_id": backup["resource_id"]},
        {"resource_name": "WEB"}, {"checkpoint_id": backup["checkpoint_id"]}, {"image_type": "backup"},
        {"start_time": backup["created_at"], "end_time": backup["created_at"] + "Z"},
        {"sort": "name:asc", "all_tenants": "true"}, {"limit": 5, "offset": 0, "dec": "x"}, {},
    ]  # fmt: skip
    others = [{"status": "waiting_protect"}, {"name": "no-such"}, {"az": "no-such"}, {"policy_id": _NOBODY},
              {"ip": "192.0.2.1"}, {"resource_id": _NOBODY}, {"end_time": "2020-01-01T00:00:00"}]  # fmt: skip
    environment = {_LED: f"{running.url}/v1/%(project_id)s"} if led else {}
    said = Huawei(lab, environment).says(_READS, matching + others, backup["id"])
    assert said["one"] == read(said["one"], backup)
    assert set(backup) - set(said["one"]) == {"tags"}, "all else is read by the client"
    assert said["all"] == [read(said["one"], backup)]
    assert said["found"] == [[backup["id"]]] * len(matching) + [[]] * len(others)
    assert said["counted"] == [1] * len(matching) + [0] * len(others)
    assert said["of_type"] == 1


_BACKS_UP = """
made = ResourceBackup.new(provider_id=provider, **wanted).create(session, prepend_key=False)
say(made=made, item=next(iter(conn.csbs.checkpoint_items(checkpoint_id=made.id))))
"""
_DELETES = """
say(deleted=conn.csbs.delete_checkpoint(words[0], provider, checkpoint_items=words[1]).id)
"""
_IS_GONE = """
try:
    say(status=conn.csbs.get_checkpoint_item(words[1]).status)
except exceptions.ResourceNotFound as error:
    again = conn.csbs.delete_checkpoint(words[0], provider)
    say(status=[error.http_status, error.code, error.message, str(error.details)], again=again)
"""


def test_a_server_is_backed_up_and_the_backup_deleted(lab: Cloud) -> None:
    """The item is there at once; what is deleted is told as `deleting`, then as not found."""
    running, huawei = lab.protected.running, Huawei(lab)
    protect = {"backup_name": "of-the-client", "description": "judged", "resource_type": _TYPE}
    said = huawei.says(_BACKS_UP, {"resource_id": lab.protected.server_id, "protect": protect})
    made, item = said["made"], said["item"]
    running.wait_for_backup(item["id"])
    record = running.get(f"/providers/{PROVIDER}/checkpoints/{made['id']}")["checkpoint"]
    assert (made.pop("status"), made.pop("protect"), made.pop("name")) == ("protecting", protect, None)
    assert made == read(made, record)
    assert (item["name"], item["description"], item["status"]) == ("of-the-client", "judged", "protecting")

    assert huawei.says(_DELETES, None, made["id"], item["id"]) == {"deleted": made["id"]}
    until = time.monotonic() + 60
    while (told := huawei.says(_IS_GONE, None, made["id"], item["id"]))["status"] == "deleting":
        assert time.monotonic() < until
    why = f"backup {item['id']} does not exist"
    assert told["status"][:2] == [404, "CSBS.3001"]
    assert why in told["status"][3]
    assert told["again"] is None, "the client passes over what is not there"


_CAN = """
say(
    protectable=ResourceBackupCapability.new(
        provider_id=provider, check_protectable=wanted["protectable"]).create(session).protectable,
    restorable=ResourceRecoveryCapability.new(
        provider_id=provider, check_restorable=wanted["restorable"]).create(session).restorable,
)
"""


def test_what_can_be_backed_up_and_restored_is_told(lab: Cloud) -> None:
    backup, server = lab.protected.backup, lab.protected.server_id
    volumes = lab.protected.parameters()["targets"]["volumes"]
    target = {"resource_type": _TYPE, "resource_id": server, "volumes": volumes}
    asked = [{"checkpoint_item_id": id, "target": target} for id in (backup["id"], _NOBODY)]
    servers = [{"resource_id": id, "resource_type": _TYPE} for id in (server, _NOBODY)]
    said = Huawei(lab).says(_CAN, {"protectable": servers, "restorable": asked})
    codes = {kind: [(one["result"], one["error_code"]) for one in found] for kind, found in said.items()}
    assert codes == {
        "protectable": [(True, ""), (False, "CSBS.6000")],
        "restorable": [(True, ""), (False, "CSBS.3001")],
    }
    assert [one["resource_id"] for one in said["protectable"]] == [server, _NOBODY]


_POLICIES = """
made = Policy.new(**wanted).create(session)
first = made.to_dict(headers=False)
listed = list(Policy.list(session, paginated=True, limit=1))
named = list(Policy.list(session, name=made.name))
operation = made.scheduled_operations[0]
change = Policy.existing(id=made.id)
change.description = "changed"
change.scheduled_operations = [{"id": operation["id"], "operation_definition": {"max_backups": 2}}]
changed = change.update(session)
shown = Policy.existing(id=made.id).get(session)
run = conn.csbs.create_checkpoint(
    provider, plan_id=made.id, parameters={"auto_trigger": False, "resources": [made.resources[0]["id"]]})
say(made=first, listed=listed, named=named, changed=changed, shown=shown, run=run)
"""
_POLICY_GOES = """
Policy.existing(id=words[0]).delete(session)
try:
    Policy.existing(id=words[0]).get(session)
except exceptions.NotFoundException as error:
    say(code=error.code, left=[one.id for one in Policy.list(session, paginated=True)])
"""


def test_a_policy_is_made_changed_run_and_deleted(lab: Cloud) -> None:
    running, huawei = lab.protected.running, Huawei(lab)
    server = {"id": lab.protected.server_id, "type": _TYPE, "name": "web-1", "extra_info": {}}
    rule = "RRULE:FREQ=WEEKLY;BYDAY=TH;BYHOUR=10;BYMINUTE=39"
    pattern = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    kept = {"max_backups": 3, "retention_duration_days": 2, "permanent": False}
    wanted = {
        "name": "of-the-client", "description": "judged", "provider_id": PROVIDER, "parameters": {"common": {}},
        "resources": [server], "scheduled_operations": [{
            "name": "weekly", "description": "", "enabled": False, "operation_type": "backup",
            "operation_definition": kept, "trigger": {"properties": {"pattern": pattern}},
        }],
    }  # fmt: skip
    said = huawei.says(_POLICIES, wanted)
    id = said["made"]["id"]
    known = running.get(f"/policies/{id}")["policy"]
    assert said["shown"] == said["changed"] == read(said["shown"], known)
    assert (known["status"], known["description"]) == ("suspended", "changed")
    before = {**known, **_before(known, wanted)}
    assert said["listed"] == said["named"] == [said["made"]] == [read(said["made"], before)]
    assert known["scheduled_operations"][0]["operation_definition"]["max_backups"] == 2
    assert "permanent" not in known["scheduled_operations"][0]["operation_definition"]
    item = running.get(f"/checkpoint_items?policy_id={id}")["checkpoint_items"][0]
    running.wait_for_backup(item["id"])
    record = running.get(f"/providers/{PROVIDER}/checkpoints/{said['run']['id']}")["checkpoint"]
    assert item["checkpoint_id"] == record["id"]
    assert said["run"]["protection_plan"] == {"id": id, "name": "of-the-client", "resources": [server]}
    assert (said["run"]["created_at"], said["run"]["project_id"]) == (record["created_at"], lab.project_id)
    assert huawei.says(_POLICY_GOES, None, id) == {"code": "CSBS.3000", "left": []}
    running.http.delete(f"/providers/{PROVIDER}/checkpoints/{record['id']}").raise_for_status()


def _before(known: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What the policy was before it was changed."""
    ((now,), (then,)) = known["scheduled_operations"], wanted["scheduled_operations"]
    definition = {**then["operation_definition"], "plan_id": known["id"], "provider_id": PROVIDER}
    operation = {**now, "operation_definition": definition}
    return {"description": wanted["description"], "scheduled_operations": [operation]}


_REFUSED = """
found = []
for call in (
    lambda: conn.csbs.create_checkpoint(provider, plan_id=words[0]),
    lambda: list(conn.csbs.checkpoint_items(status="no-such")),
    lambda: conn.csbs.delete_checkpoint(words[0], provider, ignore_missing=False),
    lambda: ResourceBackup.new(provider_id=provider, resource_id=words[0], protect={}).create(session, False),
):
    try:
        call()
    except exceptions.HttpException as error:
        found.append([type(error).__name__, error.code])
say(found=found)
"""


def test_the_client_shows_why_it_was_refused(lab: Cloud) -> None:
    assert Huawei(lab).says(_REFUSED, None, _NOBODY)["found"] == [
        ["NotFoundException", "CSBS.3000"],
        ["BadRequestException", "CSBS.9001"],
        ["ResourceNotFound", None],  # the client's own
        ["BadRequestException", "CSBS.6000"],
    ]
