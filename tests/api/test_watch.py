"""What watches the service: /healthz, /readyz and /metrics, and who may read them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.api.front import MIB, PROJECT, Answer, Front

from restead.api import Meter, Watching
from restead.domain.caller import Role
from restead.domain.figures import Ended
from restead.domain.ids import ProjectId
from restead.domain.run import RunKind
from restead.domain.verification import Depth, Verification, VerificationState
from restead.records import Records, verifications
from restead.service import Service

_OPERATE = Path(__file__).parent.parent.parent / "docs" / "operate.md"

def _read(front: Front, **options: Any) -> Answer:
    return front.call("GET", "!/metrics", **({"token": None, "check": False} | options))


def _series(answer: Answer) -> dict[tuple[str, ...], float]:
    """Return the value of each series by its name and the values of its labels."""
    assert answer.status == 200, answer.content
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def _looked(front: Front) -> None:
    with front.records.begin() as tx:
        verifications.keep(tx, Verification("v", Depth.FULL, VerificationState.SOUND, tx.now, tx.now))


def test_every_metric_is_described_and_no_other(front: Front) -> None:
    """The table in docs/operate.md names what is exported, with its kind."""
    _looked(front)
    exported = dict(re.findall(r"^# TYPE (\S+) (\S+)$", _read(front).content.decode(), re.MULTILINE))
    table = _OPERATE.read_text().partition("| metric | kind |")[2].partition("\n\n")[0]
    described = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE))
    assert described == exported
    assert all(name.startswith("restead_") for name in exported)


def test_rows_are_told_over_all_projects(front: Front) -> None:
    good, bad = front.server(name="a"), front.server(name="b", project=ProjectId("another"))
    front.backup_of(good)
    refused = front.call("POST", "/providers/x/resources/y/action", {"protect": {}}, check=False)
    assert refused.status == 400
    token = front.token_of(Role.MEMBER, "another")
    made = front.call("POST", f"/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/{bad.id}/action",
                      {"protect": {}}, project="another", token=token)  # fmt: skip
    assert made.status == 200
    found = _series(_read(front))
    assert found["restead_records_up",] == found["restead_engine_up",] == 1
    assert found["restead_runs", "backup", "waiting"] == found["restead_queue_length",] == 2
    assert found["restead_runs", "restore", "running"] == 0
    assert found["restead_queue_wait_seconds",] > 0
    ages = {key[1:]: value for key, value in found.items() if key[0] == "restead_last_good_backup_age_seconds"}
    assert 0 < ages.pop((PROJECT, good.id)) < 1000
    assert ages == {("another", bad.id): float("inf")}
    assert found["restead_last_good_backup_age_complete",] == 1
    assert ("restead_repository_findings",) not in found
    _looked(front)
    assert _series(_read(front))["restead_repository_findings",] == 0


def test_answers_are_counted_by_the_template_of_their_route(front: Front) -> None:
    """What a caller has sent makes no series of its own."""
    for number in range(3):
        assert front.get(f"/checkpoint_items/{number}").status == 404
        front.call("GET", f"!/nowhere/{number}", check=False)
        front.call("BREW", f"!/v1/{PROJECT}/checkpoint_items/{number}", check=False)
    front.call("HEAD", "!/healthz", check=False)
    found = _series(_read(front))
    route = "/v1/{project_id}/checkpoint_items/{backup_id}"
    routes = {key[2] for key in found if key[0] == "restead_requests_total"}
    assert "other" in routes
    assert not [each for each in routes if "nowhere" in each or "/0" in each]
    assert found["restead_requests_total", "GET", "other", "404"] == 3
    assert found["restead_requests_total", "GET", "/healthz", "200"] == 1
    assert sum(value for key, value in found.items() if key[0] == "restead_requests_total" and key[1] == "other") == 3
    items = [key for key in found if key[0] == "restead_requests_total" and key[1:2] == ("GET",) and key[3] == "404"]
    assert len(items) == 2, (items, route)
    assert found["restead_errors_total", "CSBS.3001"] == 3
    assert found["restead_request_seconds_count", "GET", "other"] == 3


def test_a_bug_is_counted_as_an_internal_error(front: Front) -> None:
    front.service.figures = None  # type: ignore[assignment]
    assert front.call("GET", "!/readyz", token=None, check=False).status == 500
    meter = front.app.state.door.watching.meter
    assert meter.registry.get_sample_value("restead_errors_total", {"code": "CSBS.9999"}) == 1


def test_runs_that_ended_are_counted_with_their_bytes(database: str) -> None:
    meter = Meter()
    front = Front(database, watching=Watching(meter))
    meter.ended(Ended(RunKind.BACKUP, "success", read=7 * MIB, stored=3 * MIB))
    meter.ended(Ended(RunKind.BACKUP, "failed"))
    meter.ended(Ended(RunKind.RESTORE, "success", written=5))
    found = _series(_read(front))
    front.close()
    assert found["restead_runs_ended_total", "backup", "success"] == 1
    assert found["restead_runs_ended_total", "backup", "failed"] == 1
    assert found["restead_backup_read_bytes_total",] == 7 * MIB
    assert found["restead_backup_stored_bytes_total",] == 3 * MIB
    assert found["restead_restore_written_bytes_total",] == 5


def test_records_that_are_away_leave_the_rest_to_be_read(front: Front, tmp_path: Path) -> None:
    """/metrics says so, /readyz is 503 with a reason and when to come again, /healthz does not care."""
    folder = tmp_path / "away"
    folder.mkdir()
    away = Records.open(f"sqlite:///{folder / 'records.sqlite'}")
    shutil.rmtree(folder)
    service = Service(away, front.cloud, front.submitted.append)
    front.app.state.door = replace(front.app.state.door, service=service)
    ready = front.call("GET", "!/readyz", token=None)
    assert (ready.status, ready.code, ready.message) == (
        503, "CSBS.9998", "the records cannot be read or written now")  # fmt: skip
    assert "retry-after" in ready.headers
    assert front.call("GET", "!/healthz", token=None).status == 200
    found = _series(_read(front))
    assert found["restead_records_up",] == 0
    assert ("restead_queue_length",) not in found
    assert found["restead_requests_total", "GET", "/readyz", "503"] == 1
    assert found["restead_errors_total", "CSBS.9998"] == 1


def test_who_may_work_is_ready(database: str) -> None:
    works = True
    front = Front(database, watching=Watching(engine_works=lambda: works))
    assert front.call("GET", "!/readyz", token=None).json == {"status": "ok"}
    works = False
    answer = front.call("GET", "!/readyz", token=None)
    assert (answer.status, answer.message) == (503, "no runs are begun: the engine does not work")
    assert _series(_read(front))["restead_engine_up",] == 0
    works, front.app.state.ending = True, True
    assert front.call("GET", "!/readyz", token=None).message == "the service is about to end"
    front.close()


@pytest.mark.parametrize(
    ("readers", "loopback", "elsewhere", "passed_on", "member", "admin"),
    [
        ("off", 404, 404, 404, 404, 404),
        ("token", 401, 401, 401, 403, 200),
        ("loopback", 200, 401, 401, 403, 200),
        ("everyone", 200, 200, 200, 200, 200),
    ],
)
def test_who_may_read_the_metrics(
    front: Front, readers: Any, loopback: int, elsewhere: int, passed_on: int, member: int, admin: int
) -> None:
    door = front.app.state.door
    front.app.state.door = replace(door, watching=replace(door.watching, readers=readers))
    assert _read(front).status == loopback
    assert _read(front, client="192.0.2.7").status == elsewhere
    for name in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        assert _read(front, headers=[(name, "127.0.0.1")]).status == passed_on
    assert _read(front, client="192.0.2.7", token=front.token).status == member
    every = front.token_of(Role.ADMIN, "another")
    assert _read(front, client="192.0.2.7", token=every).status == admin
    bearer = [("authorization", f"Bearer {every}")]
    assert _read(front, client="192.0.2.7", headers=bearer).status == admin


@pytest.mark.parametrize(
    ("client", "status"),
    [("::1", 200), ("127.8.9.1", 200), ("::ffff:127.0.0.1", 200), ("::ffff:192.0.2.1", 401), ("", 401)],
)
def test_loopback_is_told_by_the_address(front: Front, client: str, status: int) -> None:
    assert _read(front, client=client).status == status


def test_health_and_readiness_tell_nobody_anything_else(front: Front) -> None:
    front.backup_of(front.server())
    for path in ("!/healthz", "!/readyz"):
        assert front.call("GET", path, token=None).json == {"status": "ok"}
