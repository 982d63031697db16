"""Administrators see who was told what, and have it tried again; nobody else does."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.api.front import OTHER, PROJECT, Front
from tests.fakes.notifier import MemoryNotifier

from restead.domain.audit import Phase
from restead.domain.caller import Action, Role
from restead.domain.notice import Answer, Hearing, Notice, NoticeKind, Recipient
from restead.records import audit, deliveries, notices


class _Office:
    """The front, an administrator, and somebody who is told."""

    def __init__(self, database: str) -> None:
        self.ops = MemoryNotifier()
        self.front = Front(database, recipients={"ops": self.ops})
        self.token = self.front.token_of(Role.ADMIN, OTHER)

    def dead(self, why: str) -> None:
        """Have something happen that is given up at once."""
        with self.front.records.begin() as tx:
            notices.say(tx, NoticeKind.COLLECTION_FAILED, notices.NO_PROJECT, {"code": "", "reason": why})
            deliveries.route(tx, [Recipient("ops")])
            mark, _ = deliveries.claim(tx, Recipient("ops"))
            deliveries.settle(tx, mark, Answer(Hearing.LATER, "503 Busy"), timedelta(0))

    def call(self, method: str, path: str = "") -> Any:
        answer = self.front.call(method, f"/notices{path}", token=self.token)
        return answer.json if answer.status == 200 else (answer.status, answer.code)

    def reasons(self, query: str = "") -> list[str]:
        return [each["data"]["reason"] for each in self.call("GET", f"?sort=id&{query}")["notices"]]


class _Silent:
    """A way to somebody who says nothing until so many other calls are answered."""

    def __init__(self, answered: int) -> None:
        self.front: Front | None = None
        self._answered = answered

    def send(self, _: Sequence[Notice]) -> Answer:
        assert self.front is not None
        until = time.monotonic() + 5
        while time.monotonic() < until:
            said = [entry.said for entry in audit.entries(self.front.records)]
            if sum(each.phase is Phase.ANSWERED for each in said) >= self._answered:
                return Answer(Hearing.TAKEN, "at last")
            time.sleep(0.02)
        return Answer(Hearing.LATER, "all wait")


@pytest.fixture
def office(database: str) -> Iterator[_Office]:
    office = _Office(database)
    yield office
    office.front.close()


def test_an_administrator_sees_what_was_given_up(office: _Office) -> None:
    office.dead("the store is away")
    (found,) = office.call("GET")["notices"]
    assert (found["type"], found["status"], found["tries"], found["next_at"]) == ("collection.failed", "dead", 1, None)
    assert found["summary"] == "collecting what no backup needs failed: the store is away"
    assert (found["recipient"], found["answer"], found["project_id"]) == ("ops", "503 Busy", "")
    assert office.reasons("status=sent") == office.reasons("recipient=night") == []
    assert office.reasons("status=dead&recipient=ops") == ["the store is away"]
    assert office.call("GET", "?status=lost") == (400, "CSBS.9001")


def test_lists_come_in_pages(office: _Office) -> None:
    for why in "abc":
        office.dead(why)
    first = office.front.call("GET", "/notices?limit=2&sort=created_at", token=office.token).json
    assert [each["data"]["reason"] for each in first["notices"]] == ["c", "b"]
    more = first["notices_links"][0]["href"].partition("/v1/" + PROJECT)[2]
    rest = office.front.call("GET", more, token=office.token).json
    assert ([each["data"]["reason"] for each in rest["notices"]], "notices_links" in rest) == (["a"], False)


def test_one_or_all_are_tried_again(office: _Office) -> None:
    for why in "abc":
        office.dead(why)
    id = office.call("GET", "?limit=1")["notices"][0]["id"]
    assert office.call("POST", f"/{id.upper()}/retry") == {"notices": 1}
    assert office.call("POST", f"/{id}/retry") == (400, "CSBS.9001")
    assert office.call("POST", "/retry") == {"notices": 2}
    assert office.call("POST", "/retry") == {"notices": 0}
    assert office.reasons("status=dead") == []
    assert office.call("POST", "/nothing/retry") == (404, "CSBS.9404")


def test_one_or_all_are_dropped(office: _Office) -> None:
    for why in "abc":
        office.dead(why)
    id = office.call("GET", "?limit=1")["notices"][0]["id"]
    assert office.call("DELETE", f"/{id}") == {"notices": 1}
    assert office.call("DELETE", f"/{id}") == (404, "CSBS.9404")
    assert office.call("DELETE") == {"notices": 2}
    assert office.reasons() == []


def test_a_test_is_sent_at_once_and_its_answer_shown(office: _Office) -> None:
    assert office.call("GET", "/recipients") == {"recipients": [{"name": "ops"}]}
    assert office.call("POST", "/recipients/ops/test") == {
        "answer": {"recipient": "ops", "outcome": "taken", "said": "thanks"}
    }
    assert [(each.kind, each.facts) for each in office.ops.heard] == [(NoticeKind.TEST, {"recipient": "ops"})]
    office.ops.be("busy")
    assert office.call("POST", "/recipients/ops/test") == {
        "answer": {"recipient": "ops", "outcome": "later", "said": "not now"}
    }
    assert office.call("POST", "/recipients/night/test") == (404, "CSBS.9404")
    assert office.reasons() == []  # it stands in no row


_CALLS = [
    ("GET", ""), ("GET", "/recipients"), ("POST", "/recipients/ops/test"), ("POST", "/retry"), ("DELETE", ""),
    ("POST", "/x/retry"), ("DELETE", "/x"),
]  # fmt: skip


def test_tests_of_somebody_silent_leave_room_for_others(database: str) -> None:
    """Each keeps one of the threads that answer requests for as long as it is waited for."""
    silent = _Silent(5)
    front = silent.front = Front(database, recipients={"ops": silent})
    try:
        token = front.token_of(Role.ADMIN, PROJECT)
        path = "/notices/recipients/ops/test"
        answers = front.at_once([("POST", path, {})] * 9, [token] * 9)
        assert sorted(answer.status for answer in answers) == [200] * 4 + [503] * 5
        assert {answer.json["answer"]["said"] for answer in answers if answer.status == 200} == {"at last"}
    finally:
        front.close()


@pytest.mark.parametrize(("method", "path"), _CALLS)
@pytest.mark.parametrize("role", [Role.READER, Role.MEMBER])
def test_nobody_else_may(office: _Office, method: str, path: str, role: Role) -> None:
    """They tell of all projects, and where to."""
    answer = office.front.call(method, f"/notices{path}", token=office.front.token_of(role))
    assert (answer.status, answer.code) == (403, "CSBS.9403")
    assert office.ops.sent == []


def test_what_is_changed_is_in_the_trail(office: _Office) -> None:
    office.call("POST", "/recipients/ops/test")
    office.call("DELETE")
    office.call("GET")
    asked = [each.said for each in audit.entries(office.front.records) if each.said.phase is Phase.ASKED]
    assert [(each.action, each.subject) for each in asked] == [
        (Action.NOTICES_TEST, f"POST /v1/{PROJECT}/notices/recipients/ops/test"),
        (Action.NOTICES_DELETE, f"DELETE /v1/{PROJECT}/notices"),
    ]
