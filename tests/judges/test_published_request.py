"""The published example of a restore, sent byte by byte to the real service, with its own server and disk."""

import http.client
import json
import re
from typing import Any

from tests.app.running import PROJECT, PROVIDER, Running
from tests.judges.conftest import WEB_DISK, WEB_SERVER, WEB_SIZE, back_up
from tests.judges.shapes import TIME, UUID, Choice, ListOf, differences


def _send(running: Running, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """Send a request with nothing but what the published description asks for."""
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=30)
    connection.request(
        method, f"/v1/{PROJECT}{path}", body or None, {"X-Auth-Token": running.place.environment["RESTEAD_TOKEN"]}
    )
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    found = answer.status, headers, json.loads(answer.read())
    connection.close()
    return found


def _published(checkpoint: str, backup: str, volume_backup: str) -> bytes:
    return f"""{{
  "restore": {{
    "provider_id": "fc4d5750-22e7-4798-8a46-f48f62c4c1da",
    "checkpoint_id": "{checkpoint}",
    "parameters": {{
      "checkpoint_item_id": "{backup}",
      "power_on": true,
      "targets": {{
        "server_id": "f45c477a-57e5-465f-999f-d845083962db",
        "volumes": [
          {{"backup_id": "{volume_backup}", "volume_id": "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"}}
        ]
      }}
    }}
  }}
}}
""".encode()


def _restore(body: bytes, running: Running, **members: Any) -> dict[str, Any]:
    """The members of a restore that the published description names, and their types."""
    sent = json.loads(body)["restore"]
    mapping = sent["parameters"]["targets"]["volumes"][0]
    word = Choice(("restoring", "available"))
    shape = {
        "id": UUID,
        "project_id": PROJECT,
        "provider_id": PROVIDER,
        "checkpoint_id": sent["checkpoint_id"],
        "restore_target": re.compile(re.escape(running.url) + "/.*"),
        "status": "in_progress",
        "parameters": sent["parameters"] | {"targets": sent["parameters"]["targets"] | {"volumes": ListOf(mapping)}},
        "resources_status": {f"OS::Nova::Server#{WEB_SERVER}": word, f"OS::Cinder::Volume#{WEB_DISK}": word},
        "resources_reason": {},
        "created_at": TIME,
        "updated_at": TIME,
        "finished_at": None,
        "progress": int,
        "volumes": ListOf({**mapping, "outcome": str, "ranges": ListOf(ListOf(int)), "progress": int}),
        "fail_code": {},
        "safety_checkpoint_id": None,
        "undo_of": None,
        "stats": {
            **dict.fromkeys(("total", "kept", "written", "zeroed", "fetched", "saved", "verified"), int),
            "seconds_left": Choice((None, int)),
            "bytes_per_second": int,
        },
    }
    return {"restore": shape | members}


def test_the_published_request_brings_the_server_back(web: Running) -> None:
    """The answer has exactly the published members and types; in the end the disk is right and the server runs."""
    disk = web.place.folder / "web.raw"
    saved = disk.read_bytes()
    backup = back_up(web)
    disk.write_bytes(bytes(reversed(saved)))
    body = _published(backup["checkpoint_id"], backup["id"], backup["extend_info"]["volume_backups"][0]["id"])

    status, headers, answer = _send(web, "POST", "/restores", body)
    assert status == 200, answer
    assert headers["content-type"] == "application/json"
    assert re.fullmatch("req-" + UUID.pattern, headers["x-openstack-request-id"])
    assert differences(_restore(body, web), answer) == []
    assert list(answer) == ["restore"]

    id = answer["restore"]["id"]
    web.wait_for_restore(id)
    shape = _restore(
        body,
        web,
        status="success",
        resources_status={f"OS::Nova::Server#{WEB_SERVER}": "available", f"OS::Cinder::Volume#{WEB_DISK}": "available"},
        finished_at=TIME,
        progress=100,
        safety_checkpoint_id=Choice((None, UUID)),
        volumes=ListOf({
            **json.loads(body)["restore"]["parameters"]["targets"]["volumes"][0],
            "outcome": "restored", "ranges": [], "progress": 100,
        }),
    )  # fmt: skip
    answer = _send(web, "GET", f"/restores/{id}")[2]
    assert differences(shape, answer) == []
    assert answer["restore"]["stats"]["total"] == WEB_SIZE
    assert disk.read_bytes() == saved
    assert (web.place.folder / "state").read_text() == "running\n"


def test_a_running_server_is_stopped_and_left_stopped_if_asked(web: Running) -> None:
    """The same request with power_on false; nothing else differs."""
    disk = web.place.folder / "web.raw"
    saved = disk.read_bytes()
    backup = back_up(web)
    (web.place.folder / "state").write_text("running\n")
    body = _published(backup["checkpoint_id"], backup["id"], backup["extend_info"]["volume_backups"][0]["id"])
    body = body.replace(b'"power_on": true', b'"power_on": false')
    status, _, answer = _send(web, "POST", "/restores", body)
    assert (status, differences(_restore(body, web), answer)) == (200, [])
    assert web.wait_for_restore(answer["restore"]["id"])["status"] == "success"
    assert (web.place.folder / "state").read_text() == "stopped\n"
    assert disk.read_bytes() == saved


def test_the_published_request_with_its_own_ids_is_404_without_that_backup(web: Running) -> None:
    """Exactly as printed: those ids name a backup that only the publisher has."""
    body = _published(
        "a2b9fb53-2770-4fcd-9bad-6cadd56e6c09",
        "504b7d59-c361-411f-9ed3-814f35d08e3d",
        "bc118c24-3234-4afd-8423-d66d3d677649",
    )
    status, _, answer = _send(web, "POST", "/restores", body)
    assert status == 404
    error = {"code": 404, "title": "Not Found", "message": re.compile(r"CSBS\.3001: .+")}
    assert differences({"error": error, "error_code": "CSBS.3001", "error_msg": str}, answer) == []
    assert next(iter(answer)) == "error"


def test_the_shapes_can_tell_a_difference() -> None:
    """A judge that finds nothing wrong with anything judges nothing."""
    assert differences({"a": int}, {"a": True}) == ["body.a is True, not int"]
    assert differences({"a": int}, {"a": 1, "b": 2}) == ["body has b as well"]
    assert differences({"a": TIME}, {"a": "2026-03-02T11:00:00.000412Z"}) != []
    assert differences({"a": None}, {}) == ["body has no a"]
    assert differences(ListOf(Choice((None, int))), [None, 1, "1"]) == ["body[2] is '1', not None"]
