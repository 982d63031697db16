"""The operation log over HTTP: every run has an entry that tells what came of it."""

from datetime import timedelta

from tests.api.front import PROVIDER, Front

from restead.domain.backup import Failure
from restead.domain.caller import Role
from restead.domain.errors import Code
from restead.domain.ids import RunId
from restead.domain.states import Event
from restead.records import operations, runs


def _claim(front: Front) -> RunId:
    """Take the next run up, as a worker does."""
    with front.records.begin() as tx:
        claim = runs.claim(tx, "w", timedelta(seconds=60))
    assert claim is not None
    return claim.run_id


def _settle(front: Front, id: RunId) -> None:
    with front.records.begin() as tx:
        operations.settled(tx, id)


def test_a_backup_is_told_from_its_promise_to_its_end(front: Front) -> None:
    server = front.server()
    checkpoint = front.protect(server, backup_name="monday").json["checkpoint"]
    item = front.get("/checkpoint_items").json["checkpoint_items"][0]
    path = f"/operation_logs/{item['extend_info']['taskid']}"
    answer = front.get(path)
    entry = answer.json["operation_log"]
    assert (entry["status"], entry["operation_type"], entry["started_at"]) == ("waiting", "backup", None)
    assert entry["checkpoint_id"] == checkpoint["id"]
    assert (entry["plan_id"], entry["restore_id"]) == (None, None)
    assert entry["extra_info"]["resource"] == {"id": server.id, "type": "OS::Nova::Server", "name": "web-1"}
    assert entry["extra_info"]["backup"] == {"backup_id": item["id"], "backup_name": "monday", "incremental": True}
    assert entry["extra_info"]["common"]["request_id"].startswith("req-")
    assert front.call("DELETE", path).code == Code.IN_PROGRESS.value

    run = _claim(front)
    assert front.get(path).json["operation_log"]["status"] == "running"
    assert front.call("DELETE", path).code == Code.IN_PROGRESS.value
    front.finish_backup(checkpoint["id"])
    _settle(front, run)
    entry = front.get(path).json["operation_log"]
    assert (entry["status"], entry["error_info"]) == ("success", {"code": "", "message": ""})
    assert entry["extra_info"]["common"]["progress"] == 100
    assert entry["extra_info"]["backup"]["incremental"] is False, "whatever was asked for, the first one is full"
    assert entry["created_at"] < entry["started_at"] < entry["ended_at"]
    assert front.call("DELETE", path).json == {}
    assert front.get(path).code == Code.TASK_NOT_FOUND.value
    assert front.get(f"/checkpoint_items/{item['id']}").status == 200, "what it was about stays"


def test_a_failure_says_why(front: Front) -> None:
    checkpoint = front.protect(front.server()).json["checkpoint"]
    run = _claim(front)
    front.finish_backup(checkpoint["id"], Failure(Code.UNAVAILABLE, "no answer"))
    _settle(front, run)
    entry = front.get(f"/operation_logs/{run}").json["operation_log"]
    assert (entry["status"], entry["error_info"]) == ("failed", {"code": "CSBS.9998", "message": "no answer"})


def test_restores_and_deletions_are_told_and_found_by_every_filter(front: Front) -> None:
    server, other = front.server(), front.server(name="web-2")
    backup = front.backup_of(server)
    _settle(front, _claim(front))
    restore = front.post("/restores", front.restore_body(backup, other)).json["restore"]
    run = _claim(front)
    front.finish_restore(restore["id"], Event.FAILED, failure=Failure(Code.TARGET_TOO_SMALL, "too small"))
    _settle(front, run)
    front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{backup.checkpoint_id}")

    def kinds(query: str) -> list[str]:
        found = front.get(f"/operation_logs?{query}").json["operation_logs"]
        return [each["operation_type"] for each in found]

    assert kinds("") == ["delete", "restore", "backup"]
    assert kinds("operation_type=restore") == ["restore"]
    assert kinds("status=failed") == ["restore"]
    assert kinds("status=timeout") == []
    assert kinds(f"restore_id={restore['id']}") == ["restore"]
    assert kinds(f"resource_id={server.id.upper()}") == ["delete", "backup"]
    assert kinds(f"resource_id={other.id}") == ["restore"]
    assert kinds(f"checkpoint_id={backup.checkpoint_id}") == ["delete", "restore", "backup"]
    assert kinds("plan_id=nothing") == []
    assert kinds("end_time=2026-03-02T10:15:00") == []
    assert kinds("start_time=2026-03-02T10:15:00") == ["delete", "restore", "backup"]
    page = front.get("/operation_logs?limit=1&sort=created_at:asc").json
    assert len(page["operation_logs_links"]) == 1
    entry = front.get("/operation_logs?operation_type=restore").json["operation_logs"][0]
    assert entry["error_info"] == {"code": "CSBS.6024", "message": "too small"}
    assert entry["extra_info"]["restore"] == {
        "backup_id": backup.id, "backup_name": backup.name,
        "target_resource_id": other.id, "target_resource_name": "web-2",
    }  # fmt: skip
    entry = front.get("/operation_logs?operation_type=delete").json["operation_logs"][0]
    assert entry["extra_info"]["delete"] == {"backup_id": backup.id, "backup_name": backup.name}


def test_a_reader_sees_the_log_and_removes_nothing_and_other_projects_see_nothing(front: Front) -> None:
    front.backup_of(front.server())
    run = front.submitted[0]
    reader = front.token_of(Role.READER)
    assert front.get("/operation_logs", token=reader).status == 200
    assert front.call("DELETE", f"/operation_logs/{run}", token=reader).status == 403
    other = front.token_of(Role.MEMBER, "another")
    assert front.get("/operation_logs", token=other, project="another").json == {"operation_logs": []}
    assert front.get(f"/operation_logs/{run}", token=other, project="another").code == Code.TASK_NOT_FOUND.value
    admin = front.token_of(Role.ADMIN, "another")
    found = front.get("/operation_logs?all_tenants=true", token=admin, project="another").json["operation_logs"]
    assert [each["id"] for each in found] == [run]
