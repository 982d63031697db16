"""What can be asked about servers: how fast they are read while they run."""

import pytest
from tests.api.front import MIB, PROJECT, Front

from restead.domain.caller import Role
from restead.records import paces


@pytest.mark.parametrize(("sent", "noted"), [({"bytes_per_second": 5 * MIB}, 5 * MIB),
                                             ({"bytes_per_second": 0}, None), ({}, None)])  # fmt: skip
def test_a_server_is_throttled_by_name_or_id(front: Front, sent: object, noted: int | None) -> None:
    server = front.server()
    for which in (server.name, server.id.upper()):
        front.post(f"/servers/{server.id}/action", {"throttle": {"bytes_per_second": 1}})
        answer = front.post(f"/servers/{which}/action", {"throttle": sent})
        assert (answer.status, answer.json) == (200, {})
        with front.records.read() as tx:
            assert paces.paces(tx, PROJECT, server.id) == (noted, None)


def test_all_together_are_throttled_by_administrators_only(front: Front) -> None:
    server, body = front.server(), {"throttle": {"bytes_per_second": MIB}}
    assert front.post("/servers/action", body).code == "CSBS.9403"
    assert front.post("/servers/action", body, token=front.token_of(Role.ADMIN)).status == 200
    with front.records.read() as tx:
        assert paces.paces(tx, PROJECT, server.id) == (None, MIB)


@pytest.mark.parametrize("body", [{}, {"throttle": None}, {"throttle": {"bytes_per_second": -1}}, {"begin": {}}])
def test_what_is_no_action_is_refused(front: Front, body: dict[str, object]) -> None:
    answer = front.post(f"/servers/{front.server().id}/action", body)
    assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_a_server_that_is_not_there_is_not_found(front: Front) -> None:
    assert front.post("/servers/none/action", {"throttle": {}}).status == 404
