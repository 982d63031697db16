"""What is believed of Keystone's answers, and for how long."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Semaphore, Timer
from typing import Any

import pytest

from restead.domain.caller import DEFAULT_RIGHTS, Action, Caller
from restead.domain.errors import Forbidden, InvalidRequest, ResteadError, Unauthenticated, Unavailable
from restead.drivers.keystone import KeystoneIdentity
from restead.drivers.keystone import account as account_module
from restead.drivers.keystone import questions as questions_module
from restead.drivers.keystone.account import Account
from restead.ports import Identity

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANSWER = {
    "user": {"id": "u1", "name": "alice"},
    "project": {"id": "b6bb5c6e32f442528bb42dfb87f8ae94", "name": "web"},
    "roles": [{"id": "r1", "name": "Member"}],
    "expires_at": "2026-03-01T13:00:00.000000Z",
}


class Desk:
    """An account that says what it is told to say, and counts how often it is asked; its clock stands still."""

    def __init__(self, says: Mapping[str, Any] | ResteadError) -> None:
        self.says = says
        self.asked = 0
        self.passed = timedelta(0)

    def told(self, token: str) -> Mapping[str, Any]:
        self.asked += 1
        if isinstance(self.says, ResteadError):
            raise self.says
        return self.says

    def identity(self, believed: float = 60) -> KeystoneIdentity:
        return KeystoneIdentity(
            "", DEFAULT_RIGHTS.changed({"operator": ["csbs:backups:*"]}), timedelta(seconds=believed), account=self,
            seconds=lambda: self.passed.total_seconds(), now=lambda: T0 + self.passed,
        )  # fmt: skip


def test_a_caller_has_the_tokens_project_and_roles() -> None:
    identity: Identity = Desk(ANSWER).identity()
    caller = identity.caller("gAAAA")
    assert (caller.user, caller.project_id, caller.roles) == ("u1", ANSWER["project"]["id"], {"member"})  # type: ignore[index]
    caller.require(Action.RESTORES_CREATE, caller.project_id)
    assert not caller.is_admin


def test_roles_mean_what_the_settings_say() -> None:
    caller = Desk({**ANSWER, "roles": [{"name": "OPERATOR"}, {"name": "guest"}]}).identity().caller("t")
    caller.require(Action.BACKUPS_DELETE, caller.project_id)
    with pytest.raises(Forbidden):
        caller.require(Action.RESTORES_CREATE, caller.project_id)


def test_an_answer_is_believed_for_its_time_and_no_longer() -> None:
    desk = Desk(ANSWER)
    identity = desk.identity()
    for seconds in (0, 1, 59.9):
        desk.passed = timedelta(seconds=seconds)
        identity.caller("t")
    assert desk.asked == 1
    desk.passed, desk.says = timedelta(seconds=60), Unauthenticated("revoked")
    with pytest.raises(Unauthenticated):
        identity.caller("t")
    assert desk.asked == 2


def test_a_token_ends_when_keystone_said_it_would() -> None:
    desk = Desk({**ANSWER, "expires_at": "2026-03-01T12:00:30Z"})
    identity = desk.identity()
    identity.caller("t")
    desk.passed = timedelta(seconds=30)
    with pytest.raises(Unauthenticated):  # Keystone's clock may be behind ours
        identity.caller("t")


def test_tokens_are_not_mixed_up_and_not_kept() -> None:
    desk = Desk(ANSWER)
    identity = desk.identity()
    identity.caller("one-secret")
    desk.says = Unauthenticated("no")
    for other in ("one-secre", "one-secret ", "One-secret"):
        with pytest.raises(Unauthenticated):
            identity.caller(other)
    assert "one-secret" not in repr(vars(identity))


def test_without_a_cache_every_call_asks() -> None:
    desk = Desk(ANSWER)
    identity = desk.identity(believed=0)
    for _ in range(3):
        identity.caller("t")
    assert desk.asked == 3


def test_refusals_and_failures_are_not_remembered() -> None:
    desk = Desk(Unavailable("away"))
    identity = desk.identity()
    with pytest.raises(Unavailable):
        identity.caller("t")
    desk.says = ANSWER
    identity.caller("t")


@pytest.mark.parametrize("token", ["", "a" * 4097, "a\nb", "é", "\ud800", "a\x7f"])
def test_what_can_be_no_token_is_not_asked_about(token: str) -> None:
    desk = Desk(ANSWER)
    with pytest.raises(Unauthenticated):
        desk.identity().caller(token)
    assert desk.asked == 0


@pytest.mark.parametrize("project", [None, [], "x"])
def test_a_token_for_no_project_is_refused(project: object) -> None:
    with pytest.raises(Unauthenticated, match="not for a project"):
        Desk({**ANSWER, "project": project}).identity().caller("t")


@pytest.mark.parametrize(
    "part",
    [
        {"user": None}, {"user": {}}, {"project": {}}, {"project": {"id": "no such/project"}}, {"expires_at": None},
        {"expires_at": "soon"}, {"expires_at": "2026-03-01T13:00:00"}, {"roles": [{}]}, {"roles": 1},
        {"project": {"id": None}}, {"project": {"id": 5}}, {"project": {"id": True}}, {"user": {"id": None}},
        {"user": {"id": ["u1"]}}, {"user": {"id": ""}}, {"user": {"id": "u\0"}}, {"user": {"id": "\ud800"}},
        {"user": {"id": "u" * 256}}, {"roles": [{"name": None}]}, {"roles": [{"name": "member"}, {"name": ["admin"]}]},
    ],
)  # fmt: skip
def test_an_answer_that_is_not_understood_lets_nobody_in(part: Mapping[str, Any]) -> None:
    with pytest.raises(Unavailable):
        Desk({**ANSWER, **part}).identity().caller("t")


def test_an_unknown_cloud_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (tmp_path / "clouds.yaml").write_text('{"clouds": {}}')
    with pytest.raises(InvalidRequest, match="cloud 'nowhere'"):
        Account("nowhere")


@contextmanager
def _silence() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.filterwarnings("ignore:Support for InfluxDB")
def test_a_keystone_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Not even before it is asked: our own login comes first, and has no time of its own in keystoneauth."""
    monkeypatch.setattr(account_module, "_TIMEOUT", 0.2)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with _silence() as port:
        auth = {"auth_url": f"http://127.0.0.1:{port}/v3", "username": "u", "password": "p", "project_name": "s",
                "user_domain_id": "default", "project_domain_id": "default"}  # fmt: skip
        (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"here": {"auth": auth}}}))
        with pytest.raises(Unavailable):
            Account("here").told("gAAAA")


class _Slow(Desk):
    """One that is silent until it may speak."""

    def __init__(self) -> None:
        super().__init__(ANSWER)
        self.reached, self.may_speak = Semaphore(0), Event()

    def told(self, token: str) -> Mapping[str, Any]:
        self.reached.release()
        self.may_speak.wait()
        return super().told(token)


def _crowd(identity: KeystoneIdentity, tokens: Sequence[str], desk: _Slow, asked: int) -> list[Caller | ResteadError]:
    """Return what becomes of callers who come at once, and of whom so many ask: Keystone speaks when they have."""

    def call(token: str) -> Caller | ResteadError:
        try:
            return identity.caller(token)
        except ResteadError as error:
            return error

    with ThreadPoolExecutor(len(tokens)) as crowd:
        try:
            callers = [crowd.submit(call, token) for token in tokens]
            assert all(desk.reached.acquire(timeout=5) for _ in range(asked)), "fewer were asked about"
            until = time.monotonic() + 5
            while len(identity._questions._waiting) < 16 or sum(each.done() for each in callers) < len(tokens) - 16:
                assert time.monotonic() < until, "too many wait"
                time.sleep(0.01)
        finally:
            desk.may_speak.set()
        return [each.result() for each in callers]


def test_many_with_one_new_token_are_one_question() -> None:
    desk = _Slow()
    identity = desk.identity()
    told = _crowd(identity, ["t"] * 16, desk, 1)
    assert {each.user for each in told if isinstance(each, Caller)} == {"u1"}
    assert (len(told), desk.asked) == (16, 1)


def test_without_a_cache_nobody_is_told_what_another_asked() -> None:
    desk = _Slow()
    _crowd(desk.identity(believed=0), ["t"] * 16, desk, 16)
    assert desk.asked == 16


def test_a_crowd_that_comes_before_keystone_is_known_to_be_silent_waits_shortly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All but a few: else they had all of the service's threads until Keystone answers, or for ten seconds."""
    monkeypatch.setattr(questions_module, "_SHORT", 0.1)
    desk = _Slow()
    told = _crowd(desk.identity(), [f"t{at}" for at in range(40)], desk, 40)
    assert sum(isinstance(each, Unavailable) for each in told) == 24
    assert sum(isinstance(each, Caller) for each in told) == 16


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever our account does: it may wait for its turn to log in behind others who wait as long."""
    monkeypatch.setattr(questions_module, "_LONG", 0.1)
    monkeypatch.setattr(questions_module, "_MOST_OUT", 2)
    desk = _Slow()
    identity = desk.identity()
    in_the_end = Timer(10, desk.may_speak.set)
    in_the_end.start()
    try:
        for token in ("t1", "t2", "t3", "t3"):
            with pytest.raises(Unavailable, match="does not answer"):
                identity.caller(token)
        in_the_end.cancel()
        desk.reached.acquire()
        desk.reached.acquire()
        assert not desk.reached.acquire(timeout=0.05), "a third was asked about"
    finally:
        desk.may_speak.set()
    assert _in_the_end(lambda: identity.caller("t3").user) == "u1"


def _in_the_end(ask: Callable[[], str]) -> str:
    for _ in range(500):
        try:
            return ask()
        except Unavailable:
            time.sleep(0.01)
    return ask()


def test_who_asks_a_silent_keystone_leaves_room_for_others() -> None:
    """Each question keeps one of the service's threads; from so many on, the next are told at once to come again."""
    desk = _Slow()
    identity = desk.identity()
    with ThreadPoolExecutor(18) as crowd:
        try:
            first = [crowd.submit(identity.caller, f"t{at}") for at in range(17)]
            for _ in first:
                desk.reached.acquire()
            desk.passed = timedelta(seconds=2.5)  # up to here it might be busy, no more
            with pytest.raises(Unavailable, match="does not answer"):
                identity.caller("t17")
        finally:
            desk.may_speak.set()
        assert {each.result().user for each in first} == {"u1"}
    assert identity.caller("t17").user == "u1"
    assert identity.caller("t3").user == "u1", "what was told is believed"
