"""What the log says of a request: one line, with its id, and no secret."""

import json

import pytest
import structlog
from structlog.testing import LogCapture
from tests.api.front import PROJECT, PROVIDER, Front

from restead.domain.errors import Unavailable


@pytest.fixture
def log() -> LogCapture:
    """All log lines of a test, as the service's own log would get them."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture
    structlog.reset_defaults()


def test_each_request_has_one_line_with_its_id_and_project(front: Front, log: LogCapture) -> None:
    for path, status in (("/quotas", 200), ("/restores/x", 404), ("/nowhere", 404), ("/checkpoint_items?limit=0", 400)):
        log.entries.clear()
        answer = front.get(path)
        assert answer.status == status
        (line,) = log.entries
        assert line["event"] == "request"
        assert line["request"] == answer.headers["x-openstack-request-id"]
        assert (line["method"], line["status"]) == ("GET", status)
        assert line["path"] == f"/v1/{PROJECT}{path.partition('?')[0]}"
        assert line.get("project") == (None if path == "/nowhere" else PROJECT)
        assert line["milliseconds"] > 0


def test_lines_that_others_write_meanwhile_carry_the_id(front: Front, log: LogCapture) -> None:
    """Also those written in the thread in which a route runs."""
    front.cloud.before = lambda operation: structlog.get_logger().info("asked the cloud", operation=operation)
    answer = front.get("/servers")
    assert [line["event"] for line in log.entries] == ["asked the cloud", "request"]
    assert {line["request"] for line in log.entries} == {answer.headers["x-openstack-request-id"]}
    assert {line["project"] for line in log.entries} == {PROJECT}


def test_the_detail_of_an_error_is_in_the_log_and_not_in_the_answer(front: Front, log: LogCapture) -> None:
    def out(_operation: str) -> None:
        raise Unavailable("the cloud does not answer", detail="10.0.0.7 timed out")

    front.cloud.before = out
    answer = front.get("/servers")
    (line,) = log.entries
    assert (line["status"], line["code"], line["detail"]) == (503, "CSBS.9998", "10.0.0.7 timed out")
    assert b"10.0.0.7" not in answer.content


def test_a_bug_leaves_its_traceback(front: Front, log: LogCapture) -> None:
    def out(_operation: str) -> None:
        raise ZeroDivisionError

    front.cloud.before = out
    answer = front.get("/servers")
    assert answer.status == 500
    bug, line = log.entries
    assert (bug["event"], bug["exc_info"], bug["log_level"]) == ("request ended by a bug", True, "error")
    assert bug["request"] == line["request"] == answer.headers["x-openstack-request-id"]


def test_neither_tokens_nor_bodies_nor_queries_are_logged(front: Front, log: LogCapture) -> None:
    server = front.server()
    body = front.restore_body(front.backup_of(server), server)
    body["restore"]["restore_auth"] = {"password": "s3cret-word"}
    front.post("/restores", body)
    front.post("/restores", {"restore": "s3cret-word"})
    front.post("/restores", b"s3cret-word")
    front.post(f"/providers/{PROVIDER}/resources/x/action", {"protect": {"backup_name": "s3cret-word!"}})
    front.get("/quotas?password=s3cret-word", token="rst_s3cret-word")
    front.get("/checkpoint_items?limit=s3cret-word")
    told = json.dumps(log.entries, default=repr)
    assert "s3cret-word" not in told
    assert front.token not in told


def test_a_path_cannot_write_lines_of_its_own(front: Front, log: LogCapture) -> None:
    front.get("!/v1/x%0Aevil/" + "y" * 5000)
    (line,) = log.entries
    assert "\n" not in line["path"]
    assert len(line["path"]) <= 512
