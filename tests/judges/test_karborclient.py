"""python-karborclient, written for the interface that restead speaks, works with it unchanged.

Its calls for restores, checkpoints and the operation log are ours.  Its quotas stand at other paths in another form,
and plans, triggers and scheduled operations are not in the interface.
"""

import ast
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.app.running import PROJECT, PROVIDER
from tests.judges.conftest import Karbor, Protected

_TARGET = "http://192.168.1.2:35357/v2.0/"


def _create(karbor: Karbor, protected: Protected, *flags: str) -> dict[str, str]:
    checkpoint = protected.backup["checkpoint_id"]
    parameters = json.dumps(protected.parameters())
    return karbor.shown("restore-create", PROVIDER, checkpoint, *flags, "--parameters-json", parameters)


def _finished(karbor: Karbor, protected: Protected, id: str) -> dict[str, str]:
    protected.running.wait_for_restore(id)
    return karbor.shown("restore-show", id)


def test_restore_create_puts_the_disks_back(karbor: Karbor, protected: Protected) -> None:
    """It sends null for restore_target and restore_auth, which are as good as left out."""
    protected.damage()
    made = _create(karbor, protected)
    assert (made["status"], made["checkpoint_id"]) == ("in_progress", protected.backup["checkpoint_id"])
    assert json.loads(made["parameters"]) == protected.parameters()
    assert made["restore_target"].startswith("http://127.0.0.1:"), "never null: the service's own address"
    shown = _finished(karbor, protected, made["id"])
    assert (shown["status"], shown["resources_reason"]) == ("success", "{}")
    assert protected.contents() == protected.saved


def test_restore_create_with_a_target_sends_credentials_that_leave_no_trace(
    karbor: Karbor, protected: Protected
) -> None:
    """restore_target is echoed; restore_auth is neither stored, echoed nor logged."""
    secret = "swordfish-of-the-caller"
    made = _create(
        karbor, protected, "--restore_target", _TARGET, "--restore_username", "ada", "--restore_password", secret
    )
    assert made["restore_target"] == _TARGET
    shown = _finished(karbor, protected, made["id"])
    assert "restore_auth" not in shown
    assert secret not in json.dumps([made, shown])
    place = protected.running.place
    traces = [path for path in place.folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert traces == []


def test_restore_list_and_show_print_what_the_api_says(karbor: Karbor, protected: Protected) -> None:
    """All columns of the client are there."""
    id = _create(karbor, protected)["id"]
    protected.running.wait_for_restore(id)
    known = protected.running.restore(id)
    (row,) = [row for row in karbor.table("restore-list") if row["Id"] == id]
    assert json.loads(row.pop("Parameters")) == known["parameters"]
    assert row == {
        "Id": id,
        "Project id": PROJECT,
        "Provider id": PROVIDER,
        "Checkpoint id": known["checkpoint_id"],
        "Restore target": known["restore_target"],
        "Status": "success",
    }
    assert set(karbor.shown("restore-show", id)) == set(known)


def test_restore_list_pages_sorts_and_filters(karbor: Karbor, protected: Protected) -> None:
    """The flags of the client mean here what they say."""
    running = protected.running
    for _ in range(2):
        running.wait_for_restore(running.begin_restore(protected.backup["id"]))
    newest, next_one = (each["id"] for each in running.get("/restores")["restores"][:2])
    assert [row["Id"] for row in karbor.table("restore-list", "--limit", "1")] == [newest]
    assert [row["Id"] for row in karbor.table("restore-list", "--limit", "1", "--marker", newest)] == [next_one]
    assert karbor.table("restore-list", "--status", "fail") == []
    assert len(karbor.table("restore-list", "--all-tenants", "--limit", "1")) == 1, "it sends a 1 for true"
    assert karbor.table("restore-list", "--sort", "created_at:asc")[-1]["Id"] == newest
    ids = [row["Id"] for row in karbor.table("restore-list", "--sort", "id:desc,status")]
    assert ids == sorted(ids, reverse=True)


def test_checkpoint_list_and_show_print_the_record(karbor: Karbor, protected: Protected) -> None:
    """The plan has the name and the id that the client prints."""
    id = protected.backup["checkpoint_id"]
    known = protected.running.get(f"/providers/{PROVIDER}/checkpoints/{id}")["checkpoint"]
    (row,) = [row for row in karbor.table("checkpoint-list", PROVIDER, "--start_date", "2020-01-01") if row["Id"] == id]
    assert row == {
        "Id": id,
        "Project id": PROJECT,
        "Status": "available",
        "Protection plan": f"Name: {known['protection_plan']['name']}\nId: {known['protection_plan']['id']}",
        "Created at": known["created_at"],
    }
    assert karbor.table("checkpoint-list", PROVIDER, "--end_date", "2020-01-01") == []
    shown = karbor.shown("checkpoint-show", PROVIDER, id)
    assert json.loads(shown.pop("protection_plan")) == known["protection_plan"]
    assert shown == {
        name: "None" if value is None else value for name, value in known.items() if name != "protection_plan"
    }


def test_checkpoint_delete_deletes(karbor: Karbor, protected: Protected) -> None:
    """The client reads the record first, deletes it, and is then told that there is none."""
    running = protected.running
    backup = running.wait_for_backup(running.begin_backup(protected.server_id))
    assert karbor.run("checkpoint-delete", PROVIDER, backup["checkpoint_id"]).returncode == 0
    until = time.monotonic() + 60
    while (done := karbor.run("checkpoint-show", PROVIDER, backup["checkpoint_id"])).returncode == 0:
        assert time.monotonic() < until, done.stdout
    assert "CSBS.3001" in done.stderr
    left = {row["Id"] for row in karbor.table("checkpoint-list", PROVIDER)}
    assert protected.backup["checkpoint_id"] in left
    assert backup["checkpoint_id"] not in left


@pytest.fixture
def policy(protected: Protected) -> Iterator[dict[str, Any]]:
    """A policy for the server, whose schedule is off."""
    restead = protected.running.place.restead
    schedule = ("--daily", "02:30", "--disabled")
    id = restead("policy", "create", "nightly", "--server", protected.server_id, *schedule).strip()
    yield protected.running.get(f"/policies/{id}")["policy"]
    restead("policy", "delete", id, "--yes")


def test_checkpoint_create_runs_a_policy(karbor: Karbor, protected: Protected, policy: dict[str, Any]) -> None:
    """The client sends neither parameters nor resources, but an extra-info of its own."""
    running = protected.running
    made = karbor.shown("checkpoint-create", PROVIDER, policy["id"], "--extra_info", "why=judged")
    assert made["status"] == "protecting"
    assert json.loads(made["protection_plan"])["id"] == policy["id"]
    (item,) = running.get(f"/checkpoint_items?checkpoint_id={made['id']}")["checkpoint_items"]
    running.wait_for_backup(item["id"])
    (row,) = karbor.table("checkpoint-list", PROVIDER, "--plan_id", policy["id"])
    known = running.get(f"/providers/{PROVIDER}/checkpoints/{made['id']}")["checkpoint"]
    assert (row["Id"], row["Status"], row["Created at"]) == (made["id"], "available", known["created_at"])


def test_operation_logs_print_what_was_done(karbor: Karbor, protected: Protected) -> None:
    """Rows have every column of the client; show has every member."""
    running = protected.running
    running.wait_for_restore(running.begin_restore(protected.backup["id"]))
    known = {each["id"]: each for each in running.get("/operation_logs")["operation_logs"]}
    listed = {row["Id"]: row for row in karbor.table("operationlog-list")}
    assert set(listed) == set(known)
    assert {each["operation_type"] for each in known.values()} >= {"backup", "restore"}
    for id, row in listed.items():
        about = known[id]
        assert ast.literal_eval(row.pop("Extra Info")) == about["extra_info"]
        assert row == {
            "Id": id,
            "Operation Type": about["operation_type"],
            "Checkpoint id": about["checkpoint_id"],
            "Plan Id": about["plan_id"] or "-",
            "Provider id": PROVIDER,
            "Restore Id": about["restore_id"] or "-",
            "Scheduled Operation Id": about["scheduled_operation_id"] or "-",
            "Status": about["status"],
            "Started At": about["started_at"],
            "Ended At": about["ended_at"],
            "Error Info": str(about["error_info"]),
        }
    newest = next(iter(known))
    assert [row["Id"] for row in karbor.table("operationlog-list", "--limit", "1")] == [newest]
    assert karbor.table("operationlog-list", "--status", "failed") == []
    assert set(karbor.shown("operationlog-show", newest)) == set(known[newest])


def test_the_client_shows_why_it_was_refused(karbor: Karbor, protected: Protected) -> None:
    """It reads the first member of an error's body; what it shows names the code and the object."""
    nobody = "00000000-0000-4000-8000-000000000000"
    done = karbor.run("restore-create", PROVIDER, nobody, "--parameters-json", json.dumps(protected.parameters()))
    assert done.returncode == 1
    assert "CSBS.3001" in done.stderr
    assert nobody in done.stderr
    done = karbor.run("restore-show", nobody)
    assert (done.returncode, "CSBS.6040" in done.stderr) == (1, True)
    done = karbor.run("restore-list", token="rst_wrong")
    assert (done.returncode, "Authentication failed" in done.stderr) == (1, True)


_PROGRAM = """
import json, sys, time
from karborclient.v1.client import Client

url, token, provider, checkpoint, parameters = sys.argv[1:]
client = Client(url, token=token)
restore = client.restores.create(provider, checkpoint, None, json.loads(parameters), None)
while client.restores.get(restore.id).status == "in_progress":
    time.sleep(0.05)
found = client.restores.find(id=restore.id)
record = client.checkpoints.get(provider, checkpoint)
(entry,) = client.operation_logs.list(search_opts={"restore_id": restore.id})
print(json.dumps({
    "made": restore.to_dict(),
    "found": found.to_dict(),
    "equal": found == client.restores.get(restore.id),
    "listed": [one.id for one in client.restores.list(search_opts={"status": "success"}, limit=1)],
    "record": record.to_dict(),
    "records": [one.to_dict() for one in client.checkpoints.list(provider)],
    "plan": record.protection_plan["name"],
    "logged": entry.to_dict(),
    "entry": client.operation_logs.get(entry.id).to_dict(),
}))
"""


def test_the_python_api_of_the_client_works(karbor: Karbor, protected: Protected) -> None:
    """Objects it makes of answers are the answers."""
    protected.damage()
    running, checkpoint = protected.running, protected.backup["checkpoint_id"]
    said = karbor.python(_PROGRAM, karbor.url, karbor.token, PROVIDER, checkpoint, json.dumps(protected.parameters()))
    id = said["made"]["id"]
    record = running.get(f"/providers/{PROVIDER}/checkpoints/{checkpoint}")["checkpoint"]
    assert protected.contents() == protected.saved
    assert said["made"]["status"] == "in_progress"
    assert said["found"] == running.restore(id)
    assert said["equal"] is True
    assert said["listed"] == [id]
    assert said["record"] == record
    assert said["records"] == running.get(f"/providers/{PROVIDER}/checkpoints")["checkpoints"]
    assert said["plan"] == record["protection_plan"]["name"]
    entry = running.get(f"/operation_logs/{said['logged']['id']}")["operation_log"]
    assert (entry["restore_id"], entry["status"]) == (id, "success")
    assert said["logged"] == said["entry"] == entry
