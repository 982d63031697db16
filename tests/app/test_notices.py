"""Operators are told by a real service: of what it did, of what commands found, and over kill -9."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Judge
from tests.app.running import PROJECT, PROVIDER, Place, Running, service
from tests.lab.mail import Mailbox, mail_server
from tests.lab.webhooks import Call, WebhookReceiver, webhook_receiver

_SECRET = base64.b64encode(b"a secret that nobody else has").decode()
_SERVER = "f45c477a-57e5-465f-999f-d845083962db"
_MIB = 1 << 20
_PATIENCE = 60.0  # seconds


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    disk = found.disk("system.raw", 2 * _MIB, seed=1)
    found.restead("server", "add", "web-1", "--project", PROJECT, "--id", _SERVER, "--disk", f"path={disk},boot")
    found.environment["RESTEAD_TOKEN"] = found.token("admin")
    return found


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as found:
        yield found


def _tell(place: Place, receiver: WebhookReceiver, **more: object) -> None:
    """Have the receiver told by services that start from now on."""
    secret = place.folder / "ops.secret"
    secret.touch(0o600)
    secret.write_text(_SECRET + "\n")
    ops = {"webhook": receiver.url, "secrets_file": str(secret)}
    place.environment["RESTEAD_NOTIFY"] = json.dumps({"ops": ops, **more})


def _wait(true: Callable[[], object], what: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def _bodies(receiver: WebhookReceiver) -> list[Any]:
    """What has come, each proven to be from us."""
    return [Judge(_SECRET).verify(call.body, call.headers) for call in list(receiver.calls)]


def _types(receiver: WebhookReceiver) -> list[str]:
    return [body["type"] for body in _bodies(receiver)]


def _miss(place: Place, running: Running) -> None:
    """Run a policy while its server is gone: an entry of the log, and a notice, in one transaction."""
    operation = {"operation_type": "backup", "operation_definition": {},
                 "trigger": {"properties": {"pattern": "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30"}}}  # fmt: skip
    server = {"id": _SERVER, "type": "OS::Nova::Server", "name": "web-1"}
    wanted = {"name": "nightly", "provider_id": PROVIDER, "resources": [server], "scheduled_operations": [operation]}
    policy = running.post("/policies", {"policy": wanted})["policy"]["id"]
    (description,) = (place.data / "servers").glob("*.json")
    away = description.rename(place.folder / "away.json")
    running.post(f"/providers/{PROVIDER}/checkpoints", {"checkpoint": {"plan_id": policy, "parameters": {}}})
    away.rename(description)


def test_what_happens_is_told_and_when_it_is_well_again(place: Place, receiver: WebhookReceiver) -> None:
    """By the service, and of what a command beside it found; nothing that is kept or logged has a secret in it."""
    _tell(place, receiver)
    with service(place) as running:
        _miss(place, running)
        _wait(lambda: len(receiver.calls) == 1, "nothing came")
        backup = running.wait_for_backup(running.begin_backup(_SERVER))
        running.wait_for_restore(running.begin_restore(backup["id"]))
        for pack in (place.data / "repository" / "packs").rglob("*"):
            if pack.is_file():
                pack.chmod(0o600)
                whole = bytearray(pack.read_bytes())
                middle = len(whole) // 2
                whole[middle - 2048 : middle + 2048] = bytes(4096)
                pack.write_bytes(whole)
        place.restead("repository", "verify", code=1)
        _wait(lambda: len(receiver.calls) >= 4, f"only {_types(receiver)} came")
        assert _types(receiver) == ["backup.missed", "backup.recovered", "restore.succeeded", "verification.damaged"]
        missed, recovered, restored, damaged = (body["data"] for body in _bodies(receiver))
        assert (missed["server_name"], missed["code"], missed["project_id"]) == ("web-1", "CSBS.6000", PROJECT)
        assert recovered["backup_id"] == restored["backup_id"] == backup["id"]
        assert damaged["project_id"] == ""
        assert backup["id"] in damaged["backup_ids"]  # and what the restore has overwritten, which was the same
        listed = running.get("/notices")["notices"]
        assert [each["status"] for each in listed] == ["sent"] * 4
        metrics = running.http.get(f"{running.url}/metrics").text
        assert 'restead_notices_sent_total{recipient="ops"} 4.0' in metrics
        assert "restead_notices_waiting 0.0" in metrics
    kept = [path for path in place.data.rglob("*") if path.is_file()]
    for path in [place.log, *kept]:
        text = path.read_bytes()
        assert _SECRET.encode() not in text, path
        assert b"token-in-the-path" not in text, path
    assert "token-in-the-path" not in str(listed)


_BEFORE_IT_CAN_BE_SENT = pytest.param(False, id="before it can be sent", marks=pytest.mark.long)


@pytest.mark.parametrize("silent", [pytest.param(True, id="while it is sent"), _BEFORE_IT_CAN_BE_SENT])
def test_kill_9_between_commit_and_delivery(place: Place, receiver: WebhookReceiver, silent: bool) -> None:
    """What was durable comes after the next start, under the id that it had."""
    receiver.silent = silent
    if not silent:
        receiver.status("503 Busy")
    _tell(place, receiver)
    with service(place) as running:
        _miss(place, running)
        _wait(lambda: receiver.calls, "nothing came")
        running.kill()
    before: list[Call] = list(receiver.calls)
    receiver.silent = False
    receiver.status("200 OK")
    with service(place) as running:
        _wait(lambda: len(receiver.calls) > len(before), "nothing came after the start")
        _wait(lambda: [each["status"] for each in running.get("/notices")["notices"]] == ["sent"], "it was never sent")
    assert {body["type"] for body in _bodies(receiver)} == {"backup.missed"}
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


def test_nobody_is_told_unless_somebody_is_named(place: Place) -> None:
    """And what happened meanwhile is not told to whoever is named later."""
    with service(place) as running:
        _miss(place, running)
        refused = place.run("notify", "test")
        assert (refused.returncode, "nobody who is told" in refused.stderr) == (4, True)
        _wait(lambda: "restead_notices_waiting 0.0" in running.http.get(f"{running.url}/metrics").text, "it waits")
        assert running.get("/notices") == {"notices": []}


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as found:
        yield found


def test_a_test_goes_everywhere_and_dead_ones_come_back(
    place: Place, receiver: WebhookReceiver, box: Mailbox
) -> None:
    """By webhook and by mail; what was given up is shown, tried again, and dropped."""
    _tell(place, receiver, night={"mail": ["night@example.org"], "events": ["*.missed", "test"]})
    place.environment |= {"RESTEAD_MAIL_SERVER": f"127.0.0.1:{box.port}", "RESTEAD_MAIL_FROM": "backup@example.org",
                          "RESTEAD_MAIL_TLS": "off", "RESTEAD_MAIL_WINDOW": "1",
                          "RESTEAD_NOTIFY_GIVE_UP": "0.0001"}  # fmt: skip
    with service(place) as running:
        lines = place.restead("notify", "test").splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [["night", "taken"], ["ops", "taken"]]
        assert box.mails[0]["Subject"] == "[restead] a test: recipient night is told"
        receiver.status("500 Oops")
        told = place.restead("notify", "test", "ops", code=1)
        assert "not now: a notice would be tried again" in told
        assert "500 Oops" in told
        _miss(place, running)
        _wait(lambda: len(running.get("/notices?status=dead")["notices"]) == 1, "it did not die")
        assert "500 Oops" in place.restead("notify", "dead")
        _wait(lambda: len(box.mails) == 2, "no mail came")
        assert "server web-1 was not backed up" in box.mails[1]["Subject"]
        receiver.status("200 OK")
        place.restead("notify", "retry", "--all")
        _wait(lambda: not running.get("/notices?status=dead")["notices"], "it stays dead")
        _wait(lambda: _types(receiver)[-1] == "backup.missed", "it was not tried again")
        assert "0 notices removed" in place.run("notify", "drop", "--all").stderr
