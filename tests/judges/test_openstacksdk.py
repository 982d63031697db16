"""openstacksdk speaks with restead by raw calls: logged in to Keystone, led by the catalog's type `data-protect`."""

import json
from typing import Any

import pytest
from tests.app.running import PROVIDER
from tests.judges.cloud import Cloud, cloud
from tests.judges.conftest import Judge
from tests.lab.keystone import PASSWORD

_CALLS = """
import json, sys, openstack
cloud = openstack.connect(cloud="alice")
cloud.add_service(openstack.service_description.ServiceDescription(service_type="data-protect"))
client = cloud.data_protect
said = []
for method, path, body in json.loads(sys.argv[1]):
    answer = client.request(path, method, json=body, raise_exc=False)
    said.append([answer.status_code, answer.json() if answer.content else None])
print(json.dumps(said))
"""
_SESSION = """
import json, openstack
session = openstack.connect(cloud="alice").session
print(json.dumps(session.get("/quotas", endpoint_filter={"service_type": "data-protect"}).json()))
"""
_WAITS = """
import json, sys, openstack
cloud = openstack.connect(cloud="alice")
cloud.add_service(openstack.service_description.ServiceDescription(service_type="data-protect"))
client = cloud.data_protect
made = client.post("/restores", json={"restore": json.loads(sys.argv[1])}).json()["restore"]
for _ in openstack.utils.iterate_timeout(60, "the restore does not end", wait=0.2):
    found = client.get(f"/restores/{made['id']}").json()["restore"]
    if found["status"] != "in_progress":
        break
try:
    openstack.exceptions.raise_from_response(client.get("/restores/no-such", raise_exc=False))
except openstack.exceptions.NotFoundException as error:
    print(json.dumps([made, found, str(error)]))
"""


@pytest.fixture(scope="module")
def lab(judges: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with cloud(tmp_path_factory.mktemp("openstack")) as found:
        yield found


@pytest.fixture(scope="module")
def client(lab: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    clouds = tmp_path_factory.mktemp("alice") / "clouds.yaml"
    clouds.write_text(json.dumps({"clouds": {"alice": lab.identity.clouds("alice", "web")}}))
    return Judge(".venv-judges-openstack", lab.protected.running, {"OS_CLIENT_CONFIG_FILE": str(clouds)})


def test_what_it_asks_by_the_catalog_is_what_the_service_holds(lab: Cloud, client: Judge) -> None:
    running, backup = lab.protected.running, lab.protected.backup
    paths = (
        "/quotas", "/checkpoint_items", f"/checkpoint_items/{backup['id']}", "/checkpoint_items/count?status=available",
        f"/providers/{PROVIDER}/checkpoints", f"/providers/{PROVIDER}/checkpoints/{backup['checkpoint_id']}",
        "/restores?limit=1", "/policies", "/operation_logs", "/csbs_backup/tags", "/replication_capabilities",
    )  # fmt: skip
    said = client.python(_CALLS, json.dumps([("GET", path, None) for path in paths]))
    assert said == [[200, running.get(path)] for path in paths]
    assert client.python(_SESSION) == running.get("/quotas")


def test_it_backs_up_tags_deletes_and_is_refused(lab: Cloud, client: Judge) -> None:
    """Statuses are those of the interface: 200, and 204 for what writes tags."""
    running, server = lab.protected.running, lab.protected.server_id
    servers = f"/providers/{PROVIDER}/resources"
    asked = {"check_protectable": [{"resource_id": server, "resource_type": "OS::Nova::Server"}]}
    (can, [status, made]) = client.python(
        _CALLS,
        json.dumps([("POST", f"{servers}/action", asked), ("POST", f"{servers}/{server}/action", {"protect": {}})]),
    )
    assert (can[0], can[1]["protectable"][0]["result"], status) == (200, True, 200)
    record = made["checkpoint"]["id"]
    (item,) = running.get(f"/checkpoint_items?checkpoint_id={record}")["checkpoint_items"]
    running.wait_for_backup(item["id"])
    tags = f"/csbs_backup/{item['id']}/tags"
    said = client.python(_CALLS, json.dumps([
        ("POST", tags, {"tag": {"key": "stage", "value": "prod"}}), ("GET", tags, None),
        ("DELETE", f"{tags}/stage", None), ("DELETE", f"{tags}/stage", None),
        ("DELETE", f"/providers/{PROVIDER}/checkpoints/{record}", None), ("PATCH", "/quotas", {}),
    ]))  # fmt: skip
    assert said[:3] == [[204, None], [200, {"tags": [{"key": "stage", "value": "prod"}]}], [204, None]]
    assert [(status, body.get("error_code")) for status, body in said[3:]] == [
        (404, "CSBS.7001"), (200, None), (405, "CSBS.9405"),
    ]  # fmt: skip


def test_it_restores_and_shows_why_it_was_refused(lab: Cloud, client: Judge) -> None:
    lab.protected.damage()
    restore = {"provider_id": PROVIDER, "checkpoint_id": lab.protected.backup["checkpoint_id"],
               "parameters": lab.protected.parameters()}  # fmt: skip
    made, found, refused = client.python(_WAITS, json.dumps(restore))
    assert (made["status"], found["status"]) == ("in_progress", "success")
    assert lab.protected.contents() == lab.protected.saved
    assert found == lab.protected.running.restore(made["id"])
    assert "CSBS.6040" in refused


def test_karbor_finds_the_service_too(lab: Cloud) -> None:
    """With a name and a password in the environment."""
    account = {
        "OS_AUTH_URL": lab.identity.url, "OS_USERNAME": "alice", "OS_PASSWORD": PASSWORD, "OS_PROJECT_NAME": "web",
        "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default",
    }  # fmt: skip
    karbor = Judge(".venv-judges", lab.protected.running, account)
    done = karbor.finished([karbor.bin / "karbor", "operationlog-list"])
    assert done.returncode == 0, done.stderr
    assert lab.protected.backup["extend_info"]["taskid"] in done.stdout
