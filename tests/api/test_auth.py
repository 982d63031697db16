"""Who asks, in the order it is asked: token, project, role, size of the body, body."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.api.front import OTHER, PROJECT, Front

from restead.domain.caller import DEFAULT_RIGHTS, OTHER_PROJECTS, Action, Caller, Role
from restead.domain.errors import Unavailable
from restead.domain.listing import BackupFilter, Window
from restead.ports import Identity

_LARGE = b"x" * (2**20 + 1)


@pytest.mark.parametrize("token", [None, "", "wrong", "rst_" + "0" * 32, "\xe9\xff", "x" * 30_000])
def test_without_a_good_token_everything_is_401(shared_front: Front, token: str | None) -> None:
    """Also when project, body and all else is wrong too."""
    headers = [("x-auth-token", "")] if token == "" else []
    for project in (PROJECT, OTHER, "no such thing!"):
        project = project.replace(" ", "%20")
        answer = shared_front.call("POST", "/restores", _LARGE, token=token or None, headers=headers, project=project,
                                   check=False)  # fmt: skip
        assert (answer.status, answer.code) == (401, "CSBS.9401")
        assert "www-authenticate" in answer.headers


def test_an_expired_or_revoked_token_is_401(front: Front) -> None:
    expired = front.tokens.create(PROJECT, expires=timedelta(seconds=2)).secret
    revoked = front.tokens.create(PROJECT)
    assert front.get("/quotas", token=revoked.secret).status == 200
    front.tokens.revoke(revoked.token.id)
    for _ in range(4):
        front.get("/quotas")  # the clock goes on by a second at each look
    for token in (expired, revoked.secret):
        assert front.get("/quotas", token=token).code == "CSBS.9401"


@pytest.mark.parametrize("project", [OTHER, PROJECT + "x", PROJECT[:-1], PROJECT.upper()])
def test_another_project_is_403(shared_front: Front, project: str) -> None:
    """Before the body is looked at, and whether or not there is such a project."""
    answer = shared_front.call("POST", "/restores", _LARGE, project=project)
    assert (answer.status, answer.code) == (403, "CSBS.9403")


@pytest.mark.parametrize("project", ["a.b", "a%20b", "%00", "a%0Ab", "x" * 65, "%F0%9F%92%BE", "%22", "..%5c"])
def test_text_that_no_project_can_have_is_403_for_everyone(shared_front: Front, project: str) -> None:
    for token in (shared_front.token, shared_front.token_of(Role.ADMIN)):
        answer = shared_front.get("/quotas", project=project, token=token)
        assert (answer.status, answer.code) == (403, "CSBS.9403")


def test_the_role_comes_before_the_size_and_the_size_before_the_body(shared_front: Front) -> None:
    reader = shared_front.token_of(Role.READER)
    assert shared_front.post("/restores", _LARGE, token=reader).status == 403
    assert shared_front.post("/restores", _LARGE).code == "CSBS.9413"
    assert shared_front.post("/restores", _LARGE[:-1]).code == "CSBS.9001"


def test_an_administrator_may_act_in_other_projects(front: Front) -> None:
    server = front.server(project=OTHER)
    admin = front.token_of(Role.ADMIN)
    shown = front.get(f"/servers/{server.id}", token=admin, project=OTHER)
    assert shown.json["server"]["id"] == server.id
    assert front.get(f"/servers/{server.id}", token=admin).status == 404


def test_only_an_administrator_lists_all_projects(front: Front) -> None:
    """For others `all_tenants` is ignored.  python-karborclient says 1 where it means true."""
    admin = front.token_of(Role.ADMIN)
    front.backup_of(front.server())
    theirs = front.server(project=OTHER)
    path = f"!/v1/{OTHER}/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/resources/{theirs.id}/action"
    assert front.post(path, {"protect": {}}, token=admin).status == 200
    count = lambda query, token: front.get(f"/checkpoint_items/count{query}", token=token).json["count"]  # noqa: E731
    assert count("", admin) == 1
    assert count("?all_tenants=true", admin) == 2
    assert count("?all_tenants=1", admin) == 2
    assert [count(f"?all_tenants={no}", admin) for no in ("False", "0")] == [1, 1]
    assert count("?all_tenants=True", front.token) == 1
    assert len(front.get("/checkpoint_items?all_tenants=true", token=admin).json["checkpoint_items"]) == 2
    listed = front.get("/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/checkpoints?all_tenants=true", token=admin)
    assert {checkpoint["project_id"] for checkpoint in listed.json["checkpoints"]} == {PROJECT, OTHER}
    assert front.get("/checkpoint_items?all_tenants=2").code == "CSBS.9001"


def test_all_projects_are_listed_for_whom_a_role_of_all_projects_lets_list(front: Front) -> None:
    """Not for whom one role reaches all projects and another one lists."""
    front.backup_of(front.server())
    theirs = Caller("u", OTHER, frozenset({Role.MEMBER}))
    rights = DEFAULT_RIGHTS.changed({"counter": [Action.QUOTAS_GET, OTHER_PROJECTS], "auditor": ["*", OTHER_PROJECTS]})
    auditor, counter = (Caller("u", OTHER, frozenset({Role.MEMBER, name}), rights) for name in ("auditor", "counter"))
    for caller, number in ((theirs, 0), (counter, 0), (auditor, 1)):
        found = front.service.backups.list(caller, OTHER, BackupFilter(), Window(all_projects=True))
        assert len(found.items) == number
        assert front.service.backups.count(caller, OTHER, BackupFilter(), all_projects=True) == number


class _SlowBeside:
    """Knows our own tokens, and has others wait until one of them has been looked at."""

    def __init__(self, ours: Identity) -> None:
        self._ours = ours
        self._looked = threading.Event()
        self.in_vain = 0

    def caller(self, token: str) -> Caller:
        if token.startswith("gAAA"):
            if not self._looked.wait(2):
                self.in_vain += 1
            raise Unavailable("it does not answer now")
        self._looked.set()
        return self._ours.caller(token)


def test_who_waits_for_another_identity_service_keeps_no_thread_from_others(front: Front) -> None:
    """However many there are: 500 strangers, and a Keystone of one second, had each good token wait for 14."""
    door = front.app.state.door
    beside = _SlowBeside(door.identity)
    front.app.state.door = replace(door, identity=beside, is_foreign=lambda token: token.startswith("gAAA"))
    tokens = [*(f"gAAA{at}" for at in range(60)), front.token]
    answers = front.at_once([("GET", "/quotas", {})] * 61, tokens)
    assert [answer.status for answer in answers] == [503] * 60 + [200]
    assert beside.in_vain == 0
