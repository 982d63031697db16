"""The service with OpenStack's Keystone beside its own tokens."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.api.contract import as_published
from tests.app.running import PROVIDER, Place, Running, service
from tests.lab.keystone import Keystone, Token, keystone

_MIB = 1 << 20
_CACHE = 2.0  # seconds for which the service believes Keystone


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    with keystone(tmp_path_factory.mktemp("identity") / "keystone") as running:
        service, web, other = (running.project(name) for name in ("service", "web", "other"))
        running.user("csbs", service, "service")
        running.user("alice", web, "member")
        running.user("bob", web, "reader")
        running.user("olga", web, "Backup_Operator")
        running.user("mallory", other, "member")
        running.user("nobody", web, "guest")
        yield running


@pytest.fixture(scope="module")
def place(identity: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("place"))
    clouds = place.folder / "clouds.yaml"
    clouds.write_text(json.dumps({"clouds": {"lab": identity.clouds("csbs", "service")}}))  # JSON is YAML
    place.environment.update(
        OS_CLIENT_CONFIG_FILE=str(clouds),
        RESTEAD_KEYSTONE="lab",
        RESTEAD_KEYSTONE_CACHE=str(_CACHE),
        RESTEAD_ROLES=json.dumps({"backup_operator": ["csbs:backups:*", "csbs:restores:list"]}),
    )
    return place


@pytest.fixture(scope="module")
def running(place: Place) -> Iterator[Running]:
    with service(place) as found:
        yield found


def _asked(running: Running, token: Token | str, path: str, project: str = "", body: object = None) -> httpx2.Response:
    secret, project = (token, project) if isinstance(token, str) else (token.secret, project or token.project_id)
    headers = {"X-Auth-Token": secret}
    url, hooks = f"{running.url}/v1/{project}", {"response": [as_published]}
    with httpx2.Client(base_url=url, headers=headers, timeout=90, event_hooks=hooks) as http:
        return http.get(path) if body is None else http.post(path, json=body)


def test_callers_are_who_keystone_says(identity: Keystone, place: Place, running: Running) -> None:
    """Members back up and restore, readers look, others see nothing; our own tokens are good beside."""
    alice = identity.token("alice", "web")
    disk = place.disk("disk.raw", 2 * _MIB, seed=1)
    before = disk.read_bytes()
    place.restead("server", "add", "web-1", "--project", alice.project_id, "--disk", f"path={disk},name=system")
    server = json.loads(place.restead("server", "list", "--json"))["id"]
    protect = {"protect": {"resource_type": "OS::Nova::Server"}}
    path = f"/providers/{PROVIDER}/resources/{server}/action"
    begun = _asked(running, alice, path, body=protect)
    assert begun.status_code == 200, begun.text
    found = _asked(running, alice, f"/checkpoint_items?checkpoint_id={begun.json()['checkpoint']['id']}")
    id = found.json()["checkpoint_items"][0]["id"]
    _wait_until_available(running, alice, id)
    disk.write_bytes(bytes(len(before)))
    place.restead("restore", id, "--yes", "--project", alice.project_id, "--token", alice.secret)
    assert disk.read_bytes() == before

    bob, olga = identity.token("bob", "web"), identity.token("olga", "web")
    assert _asked(running, bob, f"/checkpoint_items/{id}").status_code == 200
    assert _asked(running, bob, path, body=protect).status_code == 403
    assert _asked(running, olga, f"/checkpoint_items/{id}").status_code == 200
    assert _asked(running, olga, "/quotas").status_code == 403
    assert _asked(running, identity.token("nobody", "web"), "/checkpoint_items").status_code == 403
    mallory = identity.token("mallory", "other")
    assert _asked(running, mallory, f"/checkpoint_items/{id}").status_code == 404
    assert _asked(running, mallory, "/checkpoint_items", alice.project_id).status_code == 403
    admin = identity.token("admin", "admin")
    assert _asked(running, admin, f"/checkpoint_items/{id}", alice.project_id).status_code == 200
    own = place.restead("token", "create", "--project", alice.project_id, "--role", "backup_operator").split()[-1]
    assert _asked(running, own, f"/checkpoint_items/{id}", alice.project_id).status_code == 200
    assert _asked(running, own, "/quotas", alice.project_id).status_code == 403
    secrets = [token.secret.encode() for token in (alice, bob, mallory, admin)]
    written = [path for path in (*place.data.rglob("*"), place.log) if path.is_file()]
    assert [path for path in written if any(secret in path.read_bytes() for secret in secrets)] == []


def _wait_until_available(running: Running, token: Token, id: str) -> None:
    until = time.monotonic() + 120
    path = f"/checkpoint_items/{id}"
    while (status := _asked(running, token, path).json()["checkpoint_item"]["status"]) != "available":
        assert status == "protecting"
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_keystone_does_not_know_is_401(identity: Keystone, running: Running) -> None:
    alice = identity.token("alice", "web")
    unscoped = identity.token("alice", "web", scoped=False)
    for wrong in ("x", "gAAAAA" + "A" * 180, alice.secret[:-8] + "AAAAAAAA", "rst_" + "0" * 32, "é"):
        headers = [(b"X-Auth-Token", wrong.encode())]
        answer = httpx2.get(f"{running.url}/v1/{alice.project_id}/quotas", headers=headers, timeout=90)
        assert answer.status_code == 401, (wrong, answer.text)
    refused = _asked(running, unscoped, "/quotas", alice.project_id)
    assert (refused.status_code, "not for a project" in refused.text) == (401, True)


def test_a_revoked_token_ends_with_the_cache(identity: Keystone, running: Running) -> None:
    token = identity.token("alice", "web")
    assert _asked(running, token, "/quotas").status_code == 200
    identity.revoke(token.secret)
    time.sleep(_CACHE)
    assert _asked(running, token, "/quotas").status_code == 401


def test_without_keystone_its_tokens_wait_and_ours_are_good(identity: Keystone, running: Running) -> None:
    token = identity.token("alice", "web")
    identity.kill()
    try:
        answer = _asked(running, token, "/quotas")
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert running.get("/quotas")
    finally:
        identity.start()
    assert _asked(running, token, "/quotas").status_code == 200


def test_a_cloud_that_is_not_configured_is_said_at_the_start(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.environment["RESTEAD_KEYSTONE"] = "nowhere"
    ended = place.run("serve", "--listen", "127.0.0.1:0")
    assert ended.returncode == 4
    assert "cloud 'nowhere' of the setting keystone cannot be used" in ended.stderr
