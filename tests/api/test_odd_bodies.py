"""Bodies as nobody sends them by mistake: always 400 or 413, never 500."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.api.front import PROVIDER, Front

from restead.records import service_copy

PATHS = [
    "/restores",
    f"/providers/{PROVIDER}/resources/action",
    f"/providers/{PROVIDER}/resources/b7a7650e-1b2c-47d1-b72a-c5187f4271a5/action",
]
ODD = {
    "nothing": b"",
    "a blank": b" ",
    "no JSON": b"restore",
    "half of it": b'{"restore": {"provider_id": ',
    "two of it": b"{}{}",
    "a comment": b"{} // so",
    "single quotes": b"{'restore': 1}",
    "a trailing comma": b'{"a": 1,}',
    "null": b"null",
    "a list": b"[]",
    "text": b'"x"',
    "a number": b"1",
    "true": b"true",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "-Infinity": b'{"a": -Infinity}',
    "a number too large for floats": b'{"a": 1e999999}',
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "lists, 100,000 deep": b"[" * 100_000,
    "lists, 100,000 deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "objects, 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a member 100,000 deep": b'{"restore":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a member 900 deep": b'{"protect":' + b"[" * 900 + b"]" * 900 + b"}",
    "invalid UTF-8": b'{"restore": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "UTF-16": '{"restore": {}}'.encode("utf-16"),
    "UTF-32": '{"restore": {}}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a control character in text": b'{"a": "\x01"}',
    "a lone surrogate as a value": b'{"restore": "\\ud800", "protect": "\\udfff", "check_protectable": "\\ud800"}',
    "a lone surrogate as a name": b'{"\\ud800": 1}',
    "a member twice": b'{"restore": {"a": 1}, "restore": 2, "protect": 1, "check_restorable": 1}',
    "NUL bytes": b"\0" * 100,
    "a boolean for everything": b'{"restore": true, "protect": true, "check_protectable": true}',
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_body_is_a_wrong_parameter(shared_front: Front, path: str, name: str) -> None:
    answer = shared_front.post(path, ODD[name])
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    assert len(answer.content) < 3000


@pytest.mark.parametrize("path", PATHS)
def test_a_body_over_one_mebibyte_is_too_large(shared_front: Front, path: str) -> None:
    """By what it says it has, and by what comes; one that is just not too large is read."""
    limit = 2**20
    assert shared_front.post(path, b"{" + b" " * (limit - 2) + b"}").code == "CSBS.9001"
    for body in (b" " * (limit + 1), [b" " * limit, b" "], [b" " * 1000] * 1100):
        answer = shared_front.post(path, body)
        assert (answer.status, answer.code) == (413, "CSBS.9413")
    for length in (str(limit + 1), "9" * 5000):
        answer = shared_front.post(path, [b"{}", b""], headers=[("content-length", length)])
        assert (answer.status, answer.code) == (413, "CSBS.9413")
        assert str(limit) in answer.message


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000, "[" * 100_000 + "]" * 100_000,
     "[" * 101 + "]" * 101, '"\x01"', "01", "'x'"],
    ids=lambda value: value[:12],
)
def test_a_member_that_nobody_reads_must_be_json_all_the_same(front: Front, value: str) -> None:
    """The body is good but for it; nothing is begun."""
    path = f"/providers/{PROVIDER}/resources/{front.server().id}/action"
    answer = front.post(path, b'{"protect": {}, "unknown": ' + value.encode() + b"}")
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    assert front.submitted == []


def policy(value: str) -> bytes:
    """Return a policy that is good but for what stands in its parameters, which are kept as they are sent."""
    operation = {"operation_type": "backup", "operation_definition": {},
                 "trigger": {"properties": {"pattern": "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30"}}}  # fmt: skip
    whole = {"name": "odd", "provider_id": PROVIDER, "resources": [], "scheduled_operations": [operation]}
    return json.dumps({"policy": {**whole, "parameters": {"common": {"x": "?"}}}}).replace('"?"', value).encode()


@pytest.mark.parametrize("value", ["1e400", "-1e400", "[" * 700 + "]" * 700, '{"a":' * 300 + "1" + "}" * 300],
                         ids=lambda value: value[:12])  # fmt: skip
def test_what_could_not_be_told_again_is_not_kept(front: Front, value: str) -> None:
    """Else no list that it stands in could be answered any more, and no copy of the records be made."""
    assert front.post("/policies", policy(value)).code == "CSBS.9001"
    assert front.get("/policies").json == {"policies": []}


@pytest.mark.parametrize("value", ["1e308", '"\\ud800"', '"\\u0000"', "[" * 90 + "]" * 90, "1" * 4000],
                         ids=lambda value: value[:12])  # fmt: skip
def test_what_is_kept_without_being_read_can_be_told_again(front: Front, value: str) -> None:
    kept = front.post("/policies", policy(value)).json["policy"]
    assert kept["parameters"]["common"]["x"] == json.loads(value)
    assert front.get("/policies").json == {"policies": [kept]}
    with front.records.read() as tx:
        assert json.loads(json.dumps(service_copy.parts(tx)["policies"]))[0]["parameters"] == kept["parameters"]


def test_a_large_body_is_refused_where_none_is_asked_for_too(shared_front: Front) -> None:
    for method, path in (("GET", "/quotas"), ("DELETE", f"/providers/{PROVIDER}/checkpoints/x")):
        assert shared_front.call(method, path, b" " * (2**20 + 1)).code == "CSBS.9413"
        assert shared_front.call(method, path, b"no JSON at all").status in (200, 404)


def test_a_body_in_pieces_is_the_same_body(front: Front) -> None:
    server = front.server()
    body = json.dumps({"protect": {"backup_name": "in-pieces"}}).encode()
    path = f"/providers/{PROVIDER}/resources/{server.id}/action"
    answer = front.post(path, [bytes([byte]) for byte in body] + [b""])
    assert answer.status == 200


def test_a_body_whose_sender_goes_away_is_no_fault_of_ours(shared_front: Front) -> None:
    """A chunked body that stops before its end."""

    async def ask() -> int:
        messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/b942cc8342734d15bcb246babb1953cf/restores", "raw_path": b"/",
            "query_string": b"", "headers": [(b"x-auth-token", shared_front.token.encode())], "scheme": "http",
            "server": None, "client": None, "root_path": "", "http_version": "1.1", "state": {},
        }  # fmt: skip
        await shared_front.app(scope, receive, send)
        return int(sent[0]["status"])

    assert shared_front._runner.run(ask()) == 400


def test_many_mappings_are_answered_at_once(shared_front: Front) -> None:
    """A body of nearly 1 MiB of mappings: counted, not compared each with all."""
    volumes = [{"backup_id": f"{n:x}", "volume_id": f"{n:x}"} for n in range(22_000)]
    body = {"restore": {"provider_id": PROVIDER, "checkpoint_id": "x", "parameters": {
        "checkpoint_item_id": "x", "power_on": True, "targets": {"server_id": "x", "volumes": volumes}}}}  # fmt: skip
    assert len(json.dumps(body)) > 900_000
    assert shared_front.post("/restores", body).code == "CSBS.3001"


def test_many_servers_of_a_policy_are_answered_at_once(shared_front: Front) -> None:
    """As many mappings are; comparing each with all took half a minute."""
    body = json.loads(policy("1"))
    body["policy"]["resources"] = [{"id": f"{n:x}", "type": "OS::Nova::Server", "name": ""} for n in range(17_000)]
    assert 900_000 < len(json.dumps(body)) < 2**20
    began = time.process_time()
    assert shared_front.post("/policies", body).code == "CSBS.6000"
    assert time.process_time() - began < 4


_NAMES = st.sampled_from([
    "restore", "protect", "check_protectable", "check_restorable", "provider_id", "checkpoint_id", "parameters",
    "checkpoint_item_id", "power_on", "targets", "server_id", "volumes", "backup_id", "volume_id", "resource_id",
    "resource_type", "target", "tags", "key", "value", "extra_info", "exclude_volumes", "incremental", "verify",
    "backup_name", "description", "consistency", "restore_target", "safety",
]) | st.text(max_size=5)  # fmt: skip
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
    | st.sampled_from([PROVIDER, "OS::Nova::Server", "", "true", "\ud800", "\0", "x" * 300])
)  # fmt: skip
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5), max_leaves=25
)


@pytest.fixture(scope="module")
def lone_front(shared_database: str) -> Any:
    front = Front(shared_database)
    yield front
    front.close()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.dictionaries(_NAMES, _JSON, max_size=4) | _JSON)
def test_no_json_is_ever_a_fault_inside(lone_front: Front, body: object) -> None:
    """Whatever the members and their types: an answer the document knows, and no 500."""
    for path in PATHS:
        answer = lone_front.post(path, body)
        assert answer.status in (200, 400, 404), answer.json


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200))
def test_no_bytes_are_ever_a_fault_inside(lone_front: Front, body: bytes) -> None:
    for path in PATHS:
        assert lone_front.post(path, body).status == 400
