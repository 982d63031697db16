"""What holds for every call: ids of requests, slashes, methods, paths, errors, versions."""

import re

import pytest
from tests.api.front import OTHER, PROVIDER, Front

from restead.api import errors
from restead.api.errors import printable
from restead.domain.caller import Role
from restead.domain.errors import Code, Damaged, ResteadError

_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "!/", {}, 300),
        ("GET", "!/v1", {"token": None}, 200),
        ("GET", "/quotas", {}, 200),
        ("GET", "/quotas", {"token": None}, 401),
        ("GET", "/quotas", {"project": OTHER}, 403),
        ("GET", "/nowhere", {}, 404),
        ("GET", "!/nowhere", {"token": None}, 404),
        ("PUT", "/restores", {}, 405),
        ("POST", "/restores", {"body": b"{"}, 400),
        ("POST", "/restores", {"body": b" " * (2**20 + 1)}, 413),
    ],
)
def test_every_answer_has_a_request_id_of_its_own(
    shared_front: Front, method: str, path: str, options: dict[str, object], status: int
) -> None:
    answers = [shared_front.call(method, path, **options) for _ in range(2)]  # type: ignore[arg-type]
    assert [answer.status for answer in answers] == [status, status]
    ids = {answer.headers["x-openstack-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(_REQUEST_ID.fullmatch(id) for id in ids)
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}


def test_an_id_that_the_caller_sends_is_not_taken_over(shared_front: Front) -> None:
    answer = shared_front.get("/quotas", headers=[("X-Openstack-Request-Id", "req-mine")])
    assert _REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])


@pytest.mark.parametrize("path", ["!/", "!/v1", "!/v1/"])
def test_the_versions_are_told_without_a_token(shared_front: Front, path: str) -> None:
    """300 for the root and 200 for the version, the same body; a bad token does not matter."""
    for token in (None, "rst_wrong"):
        answer = shared_front.get(path, token=token)
        assert answer.status == (300 if path == "!/" else 200)
        link = {"rel": "self", "href": "http://backup.test:8799/v1/"}
        assert answer.json == {"versions": [{"id": "v1.0", "status": "CURRENT", "links": [link]}]}


@pytest.mark.parametrize("path", ["/quotas", "/checkpoint_items", "/checkpoint_items/count", "/restores", "/servers"])
def test_a_trailing_slash_is_tolerated_without_a_redirect(shared_front: Front, path: str) -> None:
    assert shared_front.get(f"{path}/").json == shared_front.get(path).json
    assert shared_front.get(f"{path}//").code == "CSBS.9404"


def test_a_post_with_a_trailing_slash_keeps_its_body(front: Front) -> None:
    server = front.server()
    answer = front.post(f"/providers/{PROVIDER}/resources/{server.id}/action/", {"protect": {"backup_name": "b"}})
    assert answer.status == 200
    assert answer.json["checkpoint"]["status"] == "protecting"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/restores", "GET, POST, HEAD"),
        ("/restores/x", "GET, HEAD"),
        (f"/providers/{PROVIDER}/checkpoints/x", "GET, DELETE, HEAD"),
        (f"/providers/{PROVIDER}/resources/x/action", "POST"),
        ("/checkpoint_items/count", "GET, HEAD"),
        ("!/", "GET, HEAD"),
        ("!/openapi.json", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_told_all_that_are(shared_front: Front, path: str, allowed: str) -> None:
    """405 with every method of the path, whichever route it belongs to; OPTIONS and odd ones too."""
    for method in {"OPTIONS", "PATCH", "PUT", "TRACE", "BREW", "POST", "DELETE", "HEAD"} - set(allowed.split(", ")):
        answer = shared_front.call(method, path, check=False)
        assert (answer.status, answer.headers["allow"]) == (405, allowed), method
        assert method == "HEAD" or answer.code == "CSBS.9405"


def test_head_is_get_without_its_body(shared_front: Front) -> None:
    for path in ("/quotas", "/restores/unknown", "!/"):
        get, head = (shared_front.call(method, path, check=False) for method in ("GET", "HEAD"))
        assert head.content == b""
        assert (head.status, head.headers["content-length"]) == (get.status, get.headers["content-length"])


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/policies/x/y/z", "/csbs_backup/nothing", "/restores/plan/x", "",
     "/checkpoint_items/x/y", "!/v2", "!/v1//quotas", "!/v1/a/b/c/d/e/f", "!/%00",
     "!/\u2603".encode().decode("latin-1")],
)  # fmt: skip
def test_what_is_not_served_is_no_such_path(shared_front: Front, path: str) -> None:
    """Neither the token nor its absence changes that."""
    for token in (shared_front.token, None):
        answer = shared_front.get(path, token=token)
        assert (answer.status, answer.code) == (404, "CSBS.9404")


def test_another_provider_is_a_wrong_parameter(shared_front: Front) -> None:
    for method, path in (
        ("GET", "/providers/x/checkpoints"),
        ("GET", f"/providers/{PROVIDER.upper()}/checkpoints"),
        ("GET", "/providers/x/checkpoints/y"),
        ("DELETE", "/providers/x/checkpoints/y"),
        ("POST", "/providers/x/resources/action"),
        ("POST", "/providers/x/resources/y/action"),
    ):
        answer = shared_front.call(method, path, {} if method == "POST" else b"")
        assert (answer.status, answer.code) == (400, "CSBS.9001")
        assert "provider_id" in answer.message


def test_headers_and_query_parameters_that_mean_nothing_are_tolerated(shared_front: Front) -> None:
    for headers in (
        [("content-type", "application/json")],
        [("content-type", "nonsense; charset=none")],
        [("accept", "")],
        [("accept", "*/*")],
        [("accept", "text/html")],
    ):
        assert shared_front.get("/checkpoint_items?who=cares&x[]=1&&=", headers=headers).status == 200


def test_the_content_type_of_a_body_is_not_looked_at(front: Front) -> None:
    server = front.server()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        path = f"/providers/{PROVIDER}/resources/{server.id}/action"
        answer = front.post(path, {"protect": {}}, headers=[("content-type", content_type)])
        assert answer.status == 200, content_type
        front.finish_backup(answer.json["checkpoint"]["id"])


def test_an_error_begins_with_the_member_error(shared_front: Front) -> None:
    """One client reads the first member of the body and expects an object there."""
    answer = shared_front.get("/restores/8744d6b0-7baf-49a9-b9d7-11ec3ba75a33")
    message = "restore 8744d6b0-7baf-49a9-b9d7-11ec3ba75a33 does not exist"
    assert list(answer.json) == ["error", "error_code", "error_msg"]
    assert answer.json == {
        "error": {"code": 404, "title": "Not Found", "message": f"CSBS.6040: {message}"},
        "error_code": "CSBS.6040",
        "error_msg": message,
    }


def test_messages_are_cut_and_show_no_control_characters() -> None:
    assert printable("x" * 2000) == "x" * 999 + "…"
    assert printable("a\r\nb\x1b[31m\u202e\ud800é…") == "a\\r\\nb\\x1b[31m\\u202e\\ud800é…"


def test_a_long_id_is_echoed_cut(shared_front: Front) -> None:
    answer = shared_front.get("/checkpoint_items/" + "x" * 50_000)
    assert answer.status == 404
    assert len(answer.content) < 3000


@pytest.mark.parametrize("path", ["/checkpoint_items/a%00b", "/restores/a%00b", "/servers/%00"])
def test_a_nul_in_a_path_is_a_wrong_parameter(shared_front: Front, path: str) -> None:
    answer = shared_front.get(path)
    assert (answer.status, answer.code) == (400, "CSBS.9001")


class _Raising:
    """A stand-in for the tokens that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def caller(self, _token: str) -> None:
        raise self.error


def _answer_to(front: Front, error: Exception) -> object:
    kept = front.app.state.door
    object.__setattr__(kept, "identity", _Raising(error))
    try:
        return front.get("/quotas")
    finally:
        object.__setattr__(kept, "identity", front.tokens)


def test_a_bug_is_500_with_the_request_id_and_nothing_else(front: Front) -> None:
    """The text of what went wrong stays in the log: it may say anything."""
    answer = _answer_to(front, RuntimeError("password is hunter2"))
    assert (answer.status, answer.code) == (500, "CSBS.9999")  # type: ignore[attr-defined]
    assert answer.headers["x-openstack-request-id"] in answer.message  # type: ignore[attr-defined]
    assert b"hunter2" not in answer.content  # type: ignore[attr-defined]
    assert front.get("/quotas").status == 200


def test_damaged_bytes_are_500_and_say_so(front: Front) -> None:
    answer = _answer_to(front, Damaged("the records are damaged", detail="malformed page 7"))
    assert (answer.status, answer.code) == (500, "CSBS.9999")  # type: ignore[attr-defined]
    assert answer.message == "the records are damaged"  # type: ignore[attr-defined]


def test_a_class_between_ours_and_its_parent_has_its_parents_status(front: Front) -> None:
    """The mapping is by class; a subclass that some room adds for itself needs no entry."""

    class Special(errors.NotFound):
        pass

    assert _answer_to(front, Special("it")).status == 404  # type: ignore[attr-defined]
    assert _answer_to(front, ResteadError("it")).status == 500  # type: ignore[attr-defined]


def test_addresses_come_from_the_request_unless_they_are_set(front: Front) -> None:
    """A Host header that is none is not echoed."""
    for host, expected in (("a.test", "http://a.test"), ("[::1]:8799", "http://[::1]:8799"),
                           ('"><x', "http://127.0.0.1:8799"), ("", "http://127.0.0.1:8799")):  # fmt: skip
        answer = front.get("!/v1", headers=[("host", host)])
        assert answer.json["versions"][0]["links"][0]["href"] == f"{expected}/v1/"


def test_roles_decide_between_reading_and_changing(front: Front) -> None:
    server = front.server()
    reader = front.token_of(Role.READER)
    for path in ("/checkpoint_items", "/checkpoint_items/count", "/restores", "/quotas", "/servers", "/status",
                 f"/servers/{server.id}", f"/providers/{PROVIDER}/checkpoints"):  # fmt: skip
        assert front.get(path, token=reader).status == 200
    check = {"check_protectable": [{"resource_id": server.id, "resource_type": "OS::Nova::Server"}]}
    assert front.post(f"/providers/{PROVIDER}/resources/action", check, token=reader).status == 200
    for method, path in (
        ("POST", "/restores"),
        ("POST", f"/providers/{PROVIDER}/resources/{server.id}/action"),
        ("DELETE", f"/providers/{PROVIDER}/checkpoints/x"),
    ):
        answer = front.call(method, path, b"not even JSON" if method == "POST" else b"", token=reader)
        assert (answer.status, answer.code) == (403, Code.FORBIDDEN.value)
