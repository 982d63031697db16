"""Servers that are backed up while they run, in a real service, and are brought back."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.live import Guest, protect, wait
from tests.app.running import Place, service


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from place_for(tmp_path)


def place_for(folder: Path) -> Iterator[Place]:
    place = Place(folder)
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as runtime:  # short, for sockets
        place.environment["RESTEAD_RUNTIME"] = runtime
        yield place
        stop_all(place)


def stop_all(place: Place) -> None:
    for server in (place.data / "servers").glob("*.json"):
        place.restead("server", "stop", server.stem, "--grace", "0")


def test_a_running_server_is_backed_up_at_one_moment_and_brought_back(place: Place) -> None:
    guest = Guest(place)
    guest.start()
    summed = guest.content_of(guest.disks).summed
    with service(place) as running:
        backup = protect(running, guest)
        assert (backup["status"], backup["extend_info"]["consistency"]) == ("available", "crash")
        assert 0 <= backup["extend_info"]["guest_pause_us"] < 60_000_000
        assert running.get(f"/servers/{guest.id}")["server"]["status"] == "running"
        refused = place.run("protect", guest.name, "--consistency", "filesystem")
        assert (refused.returncode, "could not be frozen" in refused.stderr) == (1, True), "it has no agent"
        # What is proven below can be seen to be missing: a copy of the files of a running server is no moment.
        later = wait(lambda: None if (copy := guest.naive_copy()).is_a_moment else copy)
        guest.stop()
        restored = running.wait_for_restore(running.begin_restore(backup["id"]))
        assert restored["status"] == "success"
    found = guest.content()
    assert found.is_a_moment
    assert (found.boots, found.summed) == (1, summed)
    assert 0 < found.data < later.data
    report = guest.boots()
    assert report is not None
    assert (report.boots, report.data) == (2, summed)
