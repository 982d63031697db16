"""A service whose clock is set by years while it works: what runs goes on, once; what has a time is judged by the clock
there is; nothing is removed for its age; and everything is as before when the clock is right again."""

from collections.abc import Iterator

import httpx2
import pytest
from tests.app.running import Place, Running, service
from tests.app.weather import MIB, Scene
from tests.lab.wrong_clock import WrongClock

_YEARS = 5 * 365 * 86400


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WrongClock:
    return WrongClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place = Place(tmp_path_factory.mktemp("place"))
    place.environment["RESTEAD_TOKEN"] = place.token("admin")
    return Scene(place)


@pytest.fixture(scope="module")
def running(scene: Scene, clock: WrongClock) -> Iterator[Running]:
    scene.place.environment.update(clock.environment)
    with service(scene.place) as running:
        yield running


@pytest.mark.parametrize("by", [_YEARS, pytest.param(-_YEARS, marks=pytest.mark.long)])
def test_a_service_goes_on_whatever_its_clock_says(scene: Scene, running: Running, clock: WrongClock, by: int) -> None:
    """Set while a restore is slow; then backups and restores in the wrong time; then in the right one again."""
    wanted = scene.change()
    expiring = scene.place.restead("token", "create", "--project", "p1", "--expires", "30d").split()[-1]
    backup = running.wait_for_backup(running.begin_backup(scene.server))["id"]
    scene.change()
    _throttle(running, MIB // 2)
    restore = running.begin_restore(backup)
    try:
        clock.set(forward=by)
        warnings = running.get("/status")["status"]["warnings"]
        assert any("the clock has jumped by 1825 days" in said for said in warnings)
        assert _status(running, expiring) == (401 if by > 0 else 200)
        _throttle(running, 0)
        assert running.wait_for_restore(restore)["status"] == "success"
        assert scene.contents() == wanted
        changed = scene.change()
        wrong = running.wait_for_backup(running.begin_backup(scene.server))
        assert wrong["status"] == "available"
        scene.change()
        assert running.wait_for_restore(running.begin_restore(wrong["id"]))["status"] == "success"
        assert scene.contents() == changed
    finally:
        clock.set(forward=0)
    assert not any("the clock has jumped" in said for said in running.get("/status")["status"]["warnings"])
    assert _status(running, expiring) == 200
    for id, contents in ((wrong["id"], changed), (backup, wanted)):
        assert running.wait_for_restore(running.begin_restore(id))["status"] == "success"
        assert scene.contents() == contents
    told = running.http.get(f"/restores/{restore}/events").text
    assert "event: resumed" not in told
    assert told.count("event: end") == 1
    scene.assert_quiet_log()


def _throttle(running: Running, bytes_per_second: int) -> None:
    running.post("/restores/action", {"throttle": {"bytes_per_second": bytes_per_second}})


def _status(running: Running, token: str) -> int:
    return httpx2.get(f"{running.http.base_url}servers", headers={"X-Auth-Token": token}, timeout=30).status_code
