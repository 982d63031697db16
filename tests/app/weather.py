"""A service with a server of two disks, and what is asked of it while the weather is bad."""

import random
import time
from collections.abc import Callable
from typing import Any

import httpx2
from tests.app.running import PROJECT, PROVIDER, Place, Running

MIB = 1 << 20
SIZE = 6 * MIB  # of a disk
_PATIENCE = 90.0  # seconds


class Scene:
    """One server of two disks; its service comes and goes."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.disks = [place.disk(f"{name}.raw", SIZE, seed=seed) for seed, name in enumerate(("system", "data"))]
        words = [word for disk in self.disks for word in ("--disk", f"path={disk}")]
        self.server = place.restead("server", "add", "web-1", "--project", PROJECT, *words).split()[-1]
        self._seed = 100

    def contents(self) -> list[bytes]:
        return [disk.read_bytes() for disk in self.disks]

    def change(self) -> list[bytes]:
        """Write something new to both disks; return what they hold now."""
        self._seed += 1
        for number, disk in enumerate(self.disks):
            with disk.open("r+b") as file:
                file.seek(2 * MIB)
                file.write(random.Random(f"{self._seed}/{number}").randbytes(MIB))
        return self.contents()

    def ask_backup(self, running: Running) -> httpx2.Response:
        return running.http.post(f"/providers/{PROVIDER}/resources/{self.server}/action", json={"protect": {}})

    def logged(self, event: str, after: int = 0) -> list[dict[str, Any]]:
        """Return the lines of the log that say *event*, from line *after* on."""
        return [line for line in self.place.log_lines()[after:] if line["event"] == event]

    def wait_logged(self, event: str, after: int) -> dict[str, Any]:
        wait_until(lambda: bool(self.logged(event, after)), f"the log never said {event!r}")
        return self.logged(event, after)[0]

    def mark(self) -> int:
        return len(self.place.log_lines())

    def assert_quiet_log(self) -> None:
        """Nothing that was met is a bug."""
        assert "Traceback" not in self.place.log.read_text()
        errors = [line for line in self.place.log_lines() if line["level"] == "error"]
        assert {line["event"] for line in errors} <= {"the records are away"}
        assert not any("exception" in line for line in errors)


def assert_come_again(answer: httpx2.Response, why: str = "") -> None:
    """503, with the seconds after which to ask again, and the reason."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error_code"] == "CSBS.9998"
    assert why in answer.json()["error_msg"]


def wait_until(look: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not look():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)
