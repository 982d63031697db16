"""Policies over HTTP, as the contract has them: made, changed, run."""

from typing import Any

import pytest
from tests.api.front import PROVIDER, Front

from restead.domain.caller import Role
from restead.domain.policy import PolicyLimits
from restead.domain.quota import QuotaLimits
from restead.domain.server import Server, ServerStatus
from restead.service import Rules

PATTERN = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


def resource(server: Server, **more: object) -> dict[str, Any]:
    return {"id": server.id, "type": "OS::Nova::Server", "name": server.name, **more}


def body(*servers: Server, name: str = "nightly", **members: object) -> dict[str, Any]:
    operation = {"operation_type": "backup", "operation_definition": {"max_backups": 14},
                 "trigger": {"properties": {"pattern": PATTERN}}}  # fmt: skip
    operation |= members.pop("operation", {})  # type: ignore[arg-type]
    return {"policy": {"name": name, "provider_id": PROVIDER, "resources": [resource(s) for s in servers],
                       "scheduled_operations": [operation], **members}}  # fmt: skip


def made(front: Front, *servers: Server, **members: Any) -> dict[str, Any]:
    answer = front.post("/policies", body(*servers, **members))
    assert answer.status == 200, answer.json
    found: dict[str, Any] = answer.json["policy"]
    return found


def run(front: Front, policy: dict[str, Any], **parameters: object) -> Any:
    return front.post(
        f"/providers/{PROVIDER}/checkpoints",
        {"checkpoint": {"plan_id": policy["id"], "parameters": parameters}},
    )


def items(front: Front, checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = front.get(
        f"/checkpoint_items?checkpoint_id={checkpoint['id']}&sort=created_at:asc"
    ).json["checkpoint_items"]
    return sorted(found, key=lambda each: str(each["extend_info"]["resource_name"]))


def test_a_policy_comes_back_as_it_was_sent_with_what_the_service_adds(front: Front) -> None:
    server = front.server()
    policy = made(
        front, server, description="web tier", parameters={"common": {"a": [1]}, "x": 1},
        tags=[{"key": " tier ", "value": "web"}],
        operation={"name": "every-night", "operation_definition": {
            "max_backups": "14", "week_backups": 8, "timezone": "UTC+01:00", "permanent": "false",
            "retention_duration_days": 0, "day_backups": 0}},
    )  # fmt: skip
    (operation,) = policy["scheduled_operations"]
    assert policy["status"] == "suspended"
    assert policy["parameters"] == {"common": {"a": [1]}}
    assert policy["resources"] == [resource(server, extra_info={})]
    assert policy["tags"] == [{"key": "tier", "value": "web"}]
    assert operation["operation_definition"] == {
        "max_backups": 14, "week_backups": 8, "timezone": "UTC+01:00", "permanent": False,
        "plan_id": policy["id"], "provider_id": PROVIDER,
    }  # fmt: skip
    assert (operation["name"], operation["enabled"], operation["description"]) == ("every-night", True, "")
    trigger = operation["trigger"]
    assert trigger["id"] == operation["trigger_id"]
    assert trigger["properties"]["pattern"] == PATTERN, "byte for byte"
    assert trigger["properties"]["start_time"] == policy["created_at"][:19].replace("T", " ")
    assert "selection" not in policy
    assert front.get(f"/policies/{policy['id'].upper()}").json["policy"] == policy
    assert front.get("/policies").json == {"policies": [policy]}
    assert front.get("/policies?name=nightly").json == {"policies": [policy]}
    assert front.get("/policies?name=night").json == {"policies": []}


def test_what_was_not_said_has_its_default(front: Front) -> None:
    policy = made(front, operation={"operation_definition": {}})
    (operation,) = policy["scheduled_operations"]
    assert (policy["description"], policy["parameters"], policy["tags"]) == ("", {"common": {}}, [])
    assert (operation["name"], operation["enabled"]) == ("default", True)
    assert set(operation["operation_definition"]) == {"plan_id", "provider_id"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": None}, "policy.name"),
        ({"name": "a b"}, "policy.name"),
        ({"description": "<"}, "policy.description"),
        ({"provider_id": "x"}, "provider_id"),
        ({"resources": None}, "policy.resources"),
        ({"scheduled_operations": []}, "policy.scheduled_operations"),
        ({"tags": []}, "policy.tags"),
        ({"tags": [{"key": "a", "value": ""}] * 2}, "policy.tags: key a"),
        ({"selection": {"all": True, "tags": [{"key": "a", "value": ""}]}}, "policy.selection"),
        ({"operation": {"operation_type": "restore"}}, "operation_type"),
        ({"operation": {"operation_definition": None}}, "operation_definition"),
        ({"operation": {"operation_definition": {"max_backups": 100_000}}}, "max_backups"),
        ({"operation": {"operation_definition": {"max_backups": -2}}}, "max_backups"),
        ({"operation": {"operation_definition": {"max_backups": "1.0"}}}, "max_backups"),
        ({"operation": {"operation_definition": {"max_backups": True}}}, "max_backups"),
        ({"operation": {"operation_definition": {"permanent": 1}}}, "permanent"),
        ({"operation": {"operation_definition": {"day_backups": 101}}}, "day_backups"),
        ({"operation": {"operation_definition": {"day_backups": 1}}}, "operation_definition.timezone"),
        ({"operation": {"operation_definition": {"timezone": "UTC+15:00"}}}, "timezone"),
        ({"operation": {"trigger": {"properties": {}}}}, "pattern"),
        ({"operation": {"trigger": {"properties": {"pattern": "RRULE:FREQ=HOURLY"}}}}, "pattern"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(front: Front, change: dict[str, Any], named: str) -> None:
    answer = front.post("/policies", body(**change), check=True)
    assert (answer.status, answer.code) == (400, "CSBS.9001"), answer.json
    assert named in answer.message
    assert front.get("/policies").json == {"policies": []}


def test_servers_are_there_and_in_one_policy_only(front: Front) -> None:
    server, other = front.server(), front.server(name="web-2")
    first = made(front, server)
    assert front.post("/policies", body(name="nightly")).code == "CSBS.9007"
    assert front.post("/policies", body(server, name="other")).code == "CSBS.6004"
    ghost = {"id": "ghost", "type": "OS::Nova::Server", "name": "x"}
    assert front.post("/policies", body(name="other", resources=[ghost])).code == "CSBS.6000"
    wrong = {**ghost, "type": "OS::Cinder::Volume"}
    assert front.post("/policies", body(name="other", resources=[wrong])).code == "CSBS.6003"
    twice = [resource(other), {**resource(other), "id": other.id.upper()}]
    assert front.post("/policies", body(name="other", resources=twice)).code == "CSBS.9001"
    second = made(front, other, name="other")
    path = f"/policies/{second['id']}"
    assert front.call("PUT", path, {"policy": {"resources": [resource(server)]}}).code == "CSBS.6004"
    assert front.call("PUT", path, {"policy": {"name": "nightly"}}).code == "CSBS.9007"
    front.call("PUT", f"/policies/{first['id']}", {"policy": {"resources": []}})
    changed = front.call("PUT", path, {"policy": {"resources": [resource(server)]}}).json["policy"]
    assert [each["id"] for each in changed["resources"]] == [server.id]


def test_the_limits_are_the_operators(database: str) -> None:
    rules = Rules(policies=PolicyLimits(policies=2, servers=1))
    narrow = Front(database, rules=rules)
    two = [narrow.server(), narrow.server(name="web-2")]
    assert narrow.post("/policies", body(*two)).code == "CSBS.9001"
    made(narrow, two[0], name="one")
    second = made(narrow, name="two")
    assert narrow.post("/policies", body(name="three")).code == "CSBS.0001"
    answer = narrow.call("PUT", f"/policies/{second['id']}", {"policy": {"resources": [resource(s) for s in two]}})
    assert answer.code == "CSBS.9001"
    narrow.close()


def test_a_project_has_32_policies_unless_the_operator_says_otherwise(front: Front) -> None:
    for number in range(32):
        made(front, name=f"p{number}")
    assert front.post("/policies", body(name="p32")).code == "CSBS.0001"
    assert len(front.get("/policies?limit=30").json["policies_links"]) == 1


def test_a_change_leaves_alone_what_it_does_not_name(front: Front) -> None:
    server = front.server()
    policy = made(front, server, description="d", tags=[{"key": "a", "value": "b"}])
    (operation,) = policy["scheduled_operations"]
    path = f"/policies/{policy['id']}"
    assert front.call("PUT", path, {"policy": {}}).json["policy"] == policy
    wanted = {"id": operation["id"], "enabled": "False", "operation_definition": {"permanent": True}}
    answer = front.call("PUT", path, {"policy": {"name": "weekly", "parameters": {"x": 1},
                                                 "scheduled_operations": [wanted]}})  # fmt: skip
    changed = answer.json["policy"]
    (after,) = changed["scheduled_operations"]
    assert changed == {**policy, "name": "weekly", "scheduled_operations": [after]}
    definition = {"permanent": True, "plan_id": policy["id"], "provider_id": PROVIDER}
    assert after == {**operation, "enabled": False, "operation_definition": definition}
    weekly = "RRULE:FREQ=WEEKLY;BYDAY=SU;BYHOUR=1;BYMINUTE=0"
    changed = front.call("PUT", path, {"policy": {"scheduled_operations": [
        {"id": operation["id"].upper(), "trigger": {"properties": {"pattern": weekly}}}]}}).json["policy"]  # fmt: skip
    assert changed["scheduled_operations"][0]["trigger"]["properties"]["pattern"] == weekly
    assert changed["scheduled_operations"][0]["trigger"]["id"] == operation["trigger_id"]
    wrong = front.call("PUT", path, {"policy": {"scheduled_operations": [{"id": "x", "enabled": True}]}})
    assert wrong.code == "CSBS.9001"
    taken = front.call("PUT", path, {"policy": {"selection": {"all": True}}}).json["policy"]
    assert taken["selection"] == {"all": True, "tags": []}
    assert "selection" not in front.call("PUT", path, {"policy": {"selection": {}}}).json["policy"]


def test_a_deleted_policy_is_gone_at_once_and_its_backups_stay(front: Front) -> None:
    policy = made(front, front.server())
    checkpoint = run(front, policy).json["checkpoint"]
    path = f"/policies/{policy['id']}"
    assert front.call("DELETE", path).json == {}
    for answer in (front.get(path), front.call("DELETE", path), front.call("PUT", path, {"policy": {}})):
        assert (answer.status, answer.code) == (404, "CSBS.3000")
    assert run(front, policy).code == "CSBS.3000"
    assert len(items(front, checkpoint)) == 1
    assert made(front, name="nightly")["id"] != policy["id"]


def test_a_run_makes_one_record_with_an_item_for_each_server(front: Front) -> None:
    servers = [front.server(name=f"web-{n}") for n in range(3)]
    policy = made(front, *servers, tags=[{"key": "tier", "value": "web"}])
    answer = run(front, policy, auto_trigger="true")
    checkpoint = answer.json["checkpoint"]
    assert checkpoint["status"] == "protecting"
    assert checkpoint["extra_info"] == '{"created_by": "manual"}'
    assert checkpoint["protection_plan"] == {"id": policy["id"], "name": "nightly",
                                             "resources": [resource(s, extra_info={}) for s in servers]}  # fmt: skip
    found = items(front, checkpoint)
    assert [each["resource_id"] for each in found] == [server.id for server in servers]
    for each in found:
        assert each["name"].startswith("manualbk_")
        assert each["tags"] == [{"key": "tier", "value": "web"}]
        assert each["extend_info"]["auto_trigger"] is True
    assert len(front.submitted) == 3
    for id in (policy["id"], policy["id"].upper()):
        assert len(front.get(f"/checkpoint_items?policy_id={id}").json["checkpoint_items"]) == 3
        assert front.get(f"/checkpoint_items/count?policy_id={id}").json == {"count": 3}
        assert front.get(f"/providers/{PROVIDER}/checkpoints?plan_id={id}").json["checkpoints"] == [checkpoint]
        assert len(front.get(f"/operation_logs?plan_id={id}").json["operation_logs"]) == 3
    again = run(front, policy)
    assert (again.status, again.code) == (400, "CSBS.1001")


def test_one_server_of_a_policy_is_run_and_no_other_than_its_own(front: Front) -> None:
    server, other = front.server(), front.server(name="web-2")
    policy = made(front, server)
    assert run(front, policy, resources=[server.id, other.id]).code == "CSBS.9001"
    made(front, name="empty")
    assert run(front, front.get("/policies?name=empty").json["policies"][0]).code == "CSBS.6032"
    checkpoint = run(front, policy, resources=[server.id.upper()]).json["checkpoint"]
    assert [each["resource_id"] for each in items(front, checkpoint)] == [server.id]


def test_a_server_that_cannot_be_backed_up_is_an_item_in_error_and_told(front: Front) -> None:
    """Gone, in error, without disk: each with its code; the others are made."""
    good, gone, broken = front.server(), front.server(name="web-2"), front.server(name="web-3")
    policy = made(front, good, gone, broken)
    front.cloud.remove(gone.id)
    front.server(name="web-3", server_id=broken.id, volume_ids=[v.id for v in broken.volumes],
                 status=ServerStatus.ERROR)  # fmt: skip
    checkpoint = run(front, policy).json["checkpoint"]
    found = items(front, checkpoint)
    assert [each["status"] for each in found] == ["protecting", "error", "error"]
    assert [each["extend_info"]["fail_code"].get("Code") for each in found] == [None, "6000", "6005"]
    assert [each["extend_info"]["fail_op"] for each in found] == ["", "backup", "backup"]
    log = front.get(f"/operation_logs?plan_id={policy['id']}&status=skipped").json["operation_logs"]
    assert {each["error_info"]["code"] for each in log} == {"CSBS.6000", "CSBS.6005"}
    assert {each["id"] for each in log} == {each["extend_info"]["taskid"] for each in found[1:]}
    for each in found[1:]:
        path = f"/providers/{PROVIDER}/checkpoints/{checkpoint['id']}?checkpoint_items={each['id']}"
        assert front.call("DELETE", path).status == 200


def test_a_run_keeps_to_the_quota(database: str) -> None:
    """What fits is made; what does not has no item, since that would count too; a run without room is refused."""
    front = Front(database, rules=Rules(quotas=QuotaLimits(backups=2)))
    policy = made(front, *(front.server(name=f"web-{n}") for n in range(3)))
    checkpoint = run(front, policy).json["checkpoint"]
    assert len(items(front, checkpoint)) == 2
    (left,) = front.get("/operation_logs?status=skipped").json["operation_logs"]
    assert left["error_info"]["code"] == "CSBS.9006"
    assert left["extra_info"]["resource"]["name"] == "web-2"
    other = made(front, front.server(name="x"), name="other")
    answer = run(front, other)
    assert (answer.status, answer.code) == (400, "CSBS.9006")
    assert front.get(f"/checkpoint_items?policy_id={other['id']}").json["checkpoint_items"] == []
    front.close()


def test_a_policy_takes_the_whole_project_or_what_is_tagged(front: Front) -> None:
    """Also servers that come later; but none that another policy lists."""
    web = front.server(name="a", tags=(("tier", "web"), ("zone", "x")))
    front.server(name="b", tags=(("tier", "db"),))
    bound = front.server(name="c", tags=(("tier", "web"),))
    made(front, bound, name="listed")
    every = made(front, name="every", selection={"all": True})
    tagged = made(front, name="tagged", selection={"tags": [{"key": "tier", "value": "web"}]})
    found = items(front, run(front, tagged).json["checkpoint"])
    assert [each["resource_id"] for each in found] == [web.id]
    front.server(name="d")
    found = items(front, run(front, every).json["checkpoint"])
    assert [each["extend_info"]["resource_name"] for each in found] == ["a", "b", "d"]
    assert [each["status"] for each in found] == ["error", "protecting", "protecting"], "a is being backed up"


def test_readers_look_and_members_change(front: Front) -> None:
    policy = made(front)
    reader = front.token_of(Role.READER)
    assert front.get("/policies", token=reader).status == 200
    path = f"/policies/{policy['id']}"
    assert front.get(path, token=reader).status == 200
    assert front.call("PUT", path, {"policy": {}}, token=reader).status == 403
    assert front.call("DELETE", path, token=reader).status == 403
    assert front.post("/policies", body(name="x"), token=reader).status == 403
    other = front.token_of(Role.MEMBER, "another")
    assert front.get(path, token=other, project="another").code == "CSBS.3000"
