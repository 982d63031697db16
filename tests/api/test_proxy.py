"""Behind a proxy only what the proxy itself has seen of the caller is believed."""

import asyncio
from typing import Any

import pytest
from tests.api.front import Front

from restead.api import BehindProxy, Guesses
from restead.records import audit

PROXY = ("192.0.2.1", 4711)


def seen(*headers: tuple[str, str]) -> tuple[str, str]:
    """Return under which address and scheme the API sees a call that came over the proxy."""
    scopes: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        scopes.append(scope)

    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "headers": sent, "client": PROXY, "scheme": "http"}
    asyncio.run(BehindProxy(app)(scope, None, None))  # type: ignore[arg-type]  # it only hands them on
    return scopes[0]["client"][0], scopes[0]["scheme"]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9", "198.51.100.8,198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7:55555"], "198.51.100.7"),
        (["x, 2001:DB8::7"], "2001:db8::7"),
        (["[2001:db8::7]:55555"], "2001:db8::7"),
        ([], PROXY[0]),
        ([""], PROXY[0]),
        (["198.51.100.7, unknown"], PROXY[0]),
        (["198.51.100.7, \x1b[31m"], PROXY[0]),
        (["x" * 60_000], PROXY[0]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_last_address_is_the_proxys_own_word(told: list[str], address: str) -> None:
    """What stands before it was sent by whoever called the proxy."""
    assert seen(*(("x-forwarded-for", each) for each in told))[0] == address


@pytest.mark.parametrize(("told", "scheme"), [("https", "https"), ("http, https", "https"), ("https, http", "http"),
                                              ("ws", "http"), ("evil", "http"), ("", "http")])  # fmt: skip
def test_the_scheme_is_one_of_two(told: str, scheme: str) -> None:
    assert seen(("x-forwarded-proto", told))[1] == scheme


def test_whoever_sends_other_addresses_guesses_no_faster_and_is_noted_where_he_is(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    guessing = Front(database, guesses=Guesses())
    guessing.app = BehindProxy(guessing.app)  # type: ignore[assignment]
    try:
        for at in range(6):
            guessing.get("/quotas", token="rst_wrong", headers=[("x-forwarded-for", f"203.0.113.{at}, 198.51.100.7")])
        assert slept == [0, 0, 0, 0.1, 0.2, 0.4]
        guessing.post("/restores", {}, headers=[("x-forwarded-for", "203.0.113.9, 198.51.100.7")])
        assert {each.said.address for each in audit.entries(guessing.records)} == {"198.51.100.7"}
    finally:
        guessing.close()
