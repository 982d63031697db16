"""A service that is started while its clock is wrong by years: what was under way goes on, once; nothing is removed
for its age; and when it is started with the right clock, everything is as before, schedules and retention too."""

import time

import httpx2
import pytest
from tests.app.running import PROVIDER, Place, Running, service
from tests.app.weather import Scene, wait_until
from tests.lab.wrong_clock import WrongClock

_HOUR, _TEN_MINUTES, _YEARS = 3600, 600, 5 * 365 * 86400
_HOURLY = "RRULE:FREQ=DAILY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=0"


class Town:
    """A service, started again and again, whose policy is due each hour and keeps what is not older than a day."""

    def __init__(self, place: Place, clock: WrongClock) -> None:
        place.environment["RESTEAD_TOKEN"] = place.token("admin")
        place.environment.update(clock.environment)
        self.place, self.clock, self.scene = place, clock, Scene(place)
        self.contents: dict[str, list[bytes]] = {}  # of each backup
        self.expiring = place.restead("token", "create", "--project", "p1", "--expires", "30d").split()[-1]

    def begin(self) -> None:
        operation = {"name": "hourly", "operation_type": "backup", "operation_definition":
                     {"retention_duration_days": 1}, "trigger": {"properties": {"pattern": _HOURLY}}}  # fmt: skip
        policy = {"name": "hourly", "provider_id": PROVIDER, "parameters": {}, "scheduled_operations": [operation],
                  "resources": [{"id": self.scene.server, "type": "OS::Nova::Server", "name": "web-1"}]}  # fmt: skip
        with service(self.place) as running:
            running.post("/policies", {"policy": policy})

    def wait_for_scheduled(self, running: Running) -> str:
        """Wait for one more backup that nobody asked for; return its id."""

        def new() -> list[str]:
            return [each["id"] for each in _good(running) if each["id"] not in self.contents]

        wait_until(lambda: bool(new()), "no backup was made by the schedule")
        (id,) = new()
        self.contents[id] = self.scene.contents()
        return id

    def look_at_each(self, running: Running) -> None:
        for id, contents in self.contents.items():
            assert running.wait_for_restore(running.begin_restore(id))["status"] == "success"
            assert self.scene.contents() == contents

    def accepted(self, running: Running) -> bool:
        """Tell whether the token that ends in 30 days is good."""
        headers = {"X-Auth-Token": self.expiring}
        return httpx2.get(f"{running.http.base_url}servers", headers=headers, timeout=30).status_code == 200


@pytest.mark.parametrize("by", [_YEARS, pytest.param(-_YEARS, marks=pytest.mark.long)])
def test_a_service_that_starts_with_a_wrong_clock_goes_on_and_removes_nothing(
    tmp_path_factory: pytest.TempPathFactory, by: int
) -> None:
    clock = WrongClock(tmp_path_factory.mktemp("clock"))
    town = Town(Place(tmp_path_factory.mktemp("place")), clock)
    town.begin()
    for hours in (1, 3):
        clock.set(forward=hours * _HOUR)
        town.scene.change()
        with service(town.place) as running:
            first = town.wait_for_scheduled(running)
            if hours == 3:
                restore = _killed_in_a_restore(town, running, first)

    clock.set(forward=by)
    since = town.scene.mark()
    with service(town.place) as running:
        if by > 0:  # what is due finds the server under a restore
            wait_until(lambda: len(town.scene.logged("a policy runs", since)) > 0, "nothing is due")
        running.post("/restores/action", {"throttle": {"bytes_per_second": 0}})
        assert running.wait_for_restore(restore)["status"] == "success"
        assert town.scene.contents() == town.contents[first]
        town.scene.change()
        id = running.wait_for_backup(running.begin_backup(town.scene.server))["id"]
        town.contents[id] = town.scene.contents()
        assert any("the clock has jumped by 182" in said for said in running.get("/status")["status"]["warnings"])
        assert town.accepted(running) == (by < 0)
        _wait_for_looks(town.scene, since)
        assert {each["id"] for each in _good(running)} == set(town.contents)

    # A day after the first backup, less than a day after the last moment that is known, ten minutes before it is due.
    ahead = int(25.1 * _HOUR)
    ahead += (-_TEN_MINUTES - ahead - int(time.time())) % _HOUR
    clock.set(forward=ahead)
    since = town.scene.mark()
    with service(town.place) as running:
        assert not any("the clock" in said for said in running.get("/status")["status"]["warnings"])
        assert town.accepted(running)
        town.scene.change()
        if by > 0:  # what has gone before the schedule was put right does not come due again
            town.scene.wait_logged("the clock was set back", since)
            clock.set(forward=ahead + _TEN_MINUTES)
        town.wait_for_scheduled(running)
        old = next(iter(town.contents))
        wait_until(lambda: old not in {each["id"] for each in _good(running)}, "nothing is removed for its age")
        del town.contents[old]
        assert {each["id"] for each in _good(running)} == set(town.contents)
        town.look_at_each(running)
        assert running.http.get(f"/restores/{restore}/events").text.count("event: end") == 1
    town.scene.assert_quiet_log()


def _killed_in_a_restore(town: Town, running: Running, backup: str) -> str:
    town.scene.change()
    running.post("/restores/action", {"throttle": {"bytes_per_second": 64 << 10}})
    since = town.scene.mark()
    restore = running.begin_restore(backup)
    town.scene.wait_logged("run begins", since)
    running.kill()
    return restore


def _good(running: Running) -> list[dict[str, str]]:
    found: list[dict[str, str]] = running.get("/checkpoint_items?status=available&limit=100")["checkpoint_items"]
    return [each for each in found if not each["name"].startswith("prerestore_")]


def _wait_for_looks(scene: Scene, after: int) -> None:
    """Retention and what is kept to undo restores have been looked at, and more than once."""
    wait_until(
        lambda: len(scene.logged("a chore waits until the clock is believed", after)) > 4,
        "no chore waits for the clock",
    )
