"""How fast running servers are read: each at its own rate, all together at one, and both may change meanwhile."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.house import PROJECT, House

from restead.domain.errors import Forbidden, NotFound
from restead.domain.ids import ServerId
from restead.domain.server import Server
from restead.records import paces
from restead.workflows.pace import Pace, PacedSource
from restead.workflows.story import DurableRun


class GivenUp(Exception):
    """What a run's check raises when the work is to end."""


class _Run:
    """As much of a run as a pace asks of it."""

    project_id = PROJECT

    def __init__(self) -> None:
        self.ends = threading.Event()

    def check(self) -> None:
        if self.ends.is_set():
            raise GivenUp


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def _spend(house: House, server: Server, run: _Run) -> Callable[[int], None]:
    return Pace(house.records, timedelta()).of(cast(DurableRun, cast(Any, run)), server.id)


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    def until_given_up() -> None:
        try:
            work()
        except GivenUp:
            pass

    thread = threading.Thread(target=until_given_up)
    thread.start()
    return thread


@pytest.mark.parametrize("every", [False, True])
def test_a_rate_holds_until_it_is_taken_away_also_for_what_waits(house: House, every: bool) -> None:
    server, run = house.server(), _Run()
    caller, which = (house.admin, None) if every else (house.caller, server.id)
    house.service.servers.throttle(caller, PROJECT, which, 1)
    reads = _in_thread(lambda: _spend(house, server, run)(1 << 20))  # two weeks
    reads.join(0.5)
    assert reads.is_alive()
    house.service.servers.throttle(caller, PROJECT, which, None)
    reads.join(120)
    assert not reads.is_alive()


def test_whoever_waits_for_its_rate_can_be_ended(house: House) -> None:
    server, run = house.server(), _Run()
    house.service.servers.throttle(house.caller, PROJECT, server.id, 1)
    reads = _in_thread(lambda: _spend(house, server, run)(1 << 20))
    run.ends.set()
    reads.join(120)
    assert not reads.is_alive()


def test_another_servers_rate_does_not_hold(house: House) -> None:
    server, other = house.server(), house.server(name="web-2")
    house.service.servers.throttle(house.caller, PROJECT, other.name, 1)
    _spend(house, server, _Run())(1 << 20)
    with house.records.read() as tx:
        assert paces.paces(tx, PROJECT, ServerId(other.id.upper())) == (1, None)
        assert paces.paces(tx, PROJECT, server.id) == (None, None)


def test_what_is_spent_is_what_is_read(house: House) -> None:
    server, spent = house.server(), list[int]()
    source = house.cloud.disk_of(server.volumes[0].id)
    paced = PacedSource(source, spent.append)
    buffer = bytearray(4096)
    paced.read_into(8192, memoryview(buffer))
    assert (paced.size, spent, bytes(buffer)) == (source.size, [4096], house.disks(server)[0][8192:][:4096])
    assert list(paced.extents(0, paced.size)) == list(source.extents(0, source.size))


def test_who_may_not_is_refused(house: House) -> None:
    server = house.server()
    for caller, which, rate, error in (
        (house.reader, server.id, 5, Forbidden),
        (house.caller, None, 5, Forbidden),
        (house.caller, "no-such-server", 5, NotFound),
    ):
        with pytest.raises(error):
            house.service.servers.throttle(caller, PROJECT, which, rate)
    with house.records.read() as tx:
        assert paces.paces(tx, PROJECT, server.id) == (None, None)
