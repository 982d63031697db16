"""Whoever guesses tokens waits, and nobody else does."""


import pytest
from tests.api.front import Front

from restead.api import Guesses


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_delays_grow_up_to_a_bound() -> None:
    guesses = Guesses(_Time())
    delays = [guesses.delay("192.0.2.1") for _ in range(30)]
    assert delays[:8] == [0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert max(delays) == delays[-1] == 5


def test_a_minute_of_rest_forgives() -> None:
    clock = _Time()
    guesses = Guesses(clock)
    for _ in range(10):
        guesses.delay("192.0.2.1")
    clock.now = 60
    assert guesses.delay("192.0.2.1") > 0
    clock.now = 120.5
    assert guesses.delay("192.0.2.1") == 0


def test_addresses_are_counted_apart_but_for_one_network_of_ipv6() -> None:
    guesses = Guesses(_Time())
    for at in range(4):
        guesses.delay(f"2001:db8::{at}")
    assert guesses.delay("2001:db8::ffff") > 0
    assert guesses.delay("2001:db8:0:1::1") == 0
    assert guesses.delay("192.0.2.1") == 0
    assert guesses.delay("") == 0


def test_memory_is_bounded() -> None:
    guesses = Guesses(_Time())
    for at in range(20_000):
        guesses.delay(f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}")
    assert len(guesses._counts) == 10_000


def test_only_refusals_wait(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    front = Front(database, guesses=Guesses(_Time()))
    try:
        for _ in range(6):
            assert front.get("/quotas", token="rst_wrong").status == 401
            assert front.get("/quotas").status == 200
        assert slept == [0, 0, 0, 0.1, 0.2, 0.4]
    finally:
        front.close()
