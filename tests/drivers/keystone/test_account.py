"""A Keystone that does not do what it should is never a fault of ours, and never one for good."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drivers.keystone.misbehaving import PERSON, Misbehaving, answer

from restead.domain.errors import Unauthenticated, Unavailable
from restead.drivers.keystone import account as account_module
from restead.drivers.keystone.account import Account

pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")
_DEEP = b'{"token":' + b"[" * 100_000
_LARGE = json.dumps({"token": {**PERSON, "more": "a" * (5 << 20)}}).encode()
_NOT_FOUND = {"error": {"code": 404, "message": "Could not find token.", "title": "Not Found"}}


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Misbehaving]:
    running = Misbehaving()
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (tmp_path / "clouds.yaml").write_text(json.dumps(running.clouds()))
    yield running
    running.close()


@pytest.mark.parametrize(
    "said",
    [
        answer(200, _DEEP), answer(200, _LARGE), answer(500, _LARGE),
        answer(200, gzip.compress(_LARGE), "Content-Encoding: gzip"), answer(200, b"abcd", "Content-Encoding: gzip"),
        answer(301, b"", "Location: http://[::"), answer(302, b"", "Location: file:///etc/passwd"), answer(300),
        answer(403), answer(503), answer(404, b"<html>no such page</html>"), answer(404, {"message": "no route"}),
        answer(404, _DEEP),
    ],
    ids=lambda said: repr(said[:60]),
)  # fmt: skip
def test_an_answer_that_is_none_of_keystones_is_not_believed(keystone: Misbehaving, said: bytes) -> None:
    """Nor is it an answer about the token, be it that a proxy says 404 in Keystone's place."""
    account, good = Account("here"), keystone.about

    def once() -> bytes:
        keystone.about = good
        return said

    keystone.about = once
    with pytest.raises(Unavailable):
        account.told("gAAAA")
    assert account.told("gAAAA") == PERSON


def test_what_keystone_itself_does_not_find_is_no_token(keystone: Misbehaving) -> None:
    keystone.about = lambda: answer(404, _NOT_FOUND)
    with pytest.raises(Unauthenticated):
        Account("here").told("gAAAA")


@pytest.mark.parametrize(
    "said",
    [
        (201, {"token": None}), (201, []), (201, {"token": {}}), (201, {"token": {"expires_at": "x", "catalog": []}}),
        (201, {"token": {**PERSON, "catalog": "x"}}), (201, {"token": {**PERSON, "catalog": [1]}}), (201, _DEEP),
        (201, _LARGE), (401, b""), (500, b"x"),
    ],
    ids=lambda said: repr(said)[:60],
)  # fmt: skip
def test_a_login_that_went_wrong_is_forgotten(keystone: Misbehaving, said: tuple[int, object]) -> None:
    account = Account("here")
    keystone.login = lambda: answer(*said, "X-Subject-Token: odd")
    for _ in range(2):
        with pytest.raises(Unavailable):
            account.told("gAAAA")
    keystone.login = keystone.good_login
    assert account.told("gAAAA") == PERSON


def test_an_address_that_is_not_found_out_is_no_address(keystone: Misbehaving) -> None:
    """A catalog may name Keystone without its version: to ask there says 404 of every token."""
    keystone.catalog, versions = keystone.url, keystone.versions
    keystone.versions = lambda: answer(503)
    account = Account("here")
    with pytest.raises(Unavailable):
        account.told("gAAAA")
    keystone.versions = versions
    assert account.told("gAAAA") == PERSON


def test_an_address_that_has_changed_is_learnt(keystone: Misbehaving) -> None:
    """From the catalog of the next login, which is not put off until our token ends."""
    account, moved = Account("here"), Misbehaving()
    try:
        assert account.told("gAAAA") == PERSON
        keystone.catalog = moved.catalog
        keystone.about = lambda: answer(404, b"<html>moved</html>")
        with pytest.raises(Unavailable):
            account.told("gAAAA")
        assert account.told("gAAAA") == PERSON
        assert moved.asked
    finally:
        moved.close()


def test_a_body_that_never_ends_is_not_waited_for(keystone: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often something comes of it."""
    monkeypatch.setattr(account_module, "_TIMEOUT", 0.3)
    account = Account("here")
    account.told("gAAAA")
    began = time.monotonic()
    keystone.about = lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    keystone.drips = True
    with pytest.raises(Unavailable):
        account.told("gAAAA")
    assert time.monotonic() - began < 10  # all of it would take 20
