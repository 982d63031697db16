"""Calls that would change something are in the audit trail, whatever came of them."""

from tests.api.front import OTHER, PROJECT, Front

from restead.domain.audit import Phase
from restead.domain.caller import Action, Role
from restead.records import audit

_PATH = "/v1/" + PROJECT


def trail(front: Front) -> list[tuple[str, str, str, str]]:
    return [(each.said.phase, each.said.action, each.said.subject, each.said.outcome)
            for each in audit.entries(front.records)]  # fmt: skip


def test_a_call_is_noted_before_and_after(front: Front) -> None:
    server = front.server()
    answer = front.protect(server)
    path = f"POST {_PATH}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/{server.id}/action"
    assert trail(front) == [
        (Phase.ASKED, Action.BACKUPS_CREATE, path, ""),
        (Phase.ANSWERED, Action.BACKUPS_CREATE, path, "200"),
    ]
    asked, answered = audit.entries(front.records)
    assert asked.said.request_id == answered.said.request_id == answer.headers["x-openstack-request-id"]
    assert (asked.said.user, asked.said.project_id) == (front.tokens.list()[0].user, PROJECT)


def test_refusals_are_in_it_with_their_code(front: Front) -> None:
    front.post("/restores", {"restore": {}})
    front.post("/restores", {"restore": {}}, token=front.token_of(Role.READER))
    front.post("/restores", b"x" * (2**20 + 1))
    front.post("/restores", {}, project=OTHER)
    front.post("/restores", {}, project="no%00such%0Athing")
    answered = [outcome for phase, _, _, outcome in trail(front) if phase == Phase.ANSWERED]
    assert answered == ["400 CSBS.9001", "403 CSBS.9403", "413 CSBS.9413", "403 CSBS.9403", "403 CSBS.9403"]
    assert len(trail(front)) == 10
    assert trail(front)[-1][2] == "POST /v1/no\\x00such\\nthing/restores"


def test_looking_leaves_no_trace_and_neither_do_strangers(front: Front) -> None:
    front.get("/restores")
    front.get("/nothing")
    front.post("/restores", {}, token="rst_wrong")
    front.post("/restores", {}, token=None)
    assert trail(front) == []


def test_nothing_is_done_that_cannot_be_noted(front: Front) -> None:
    server = front.server()
    with front.records.begin() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE audit RENAME TO audit_away")
    try:
        assert front.protect(server).status in (500, 503)  # it is no passing state, but SQLite does not say so
        assert front.get("/checkpoint_items").json["checkpoint_items"] == []
    finally:
        with front.records.begin() as tx:
            tx.connection.exec_driver_sql("ALTER TABLE audit_away RENAME TO audit")
