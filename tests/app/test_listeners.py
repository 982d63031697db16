"""Who listens to a restore hears its end, also over a power cut; and a service ends though somebody listens."""

import json
import subprocess
import time
from pathlib import Path

from tests.app.running import PROJECT, RESTEAD, Place, Running, service

_MIB = 1 << 20


def _slow_restore(place: Place, running: Running, size: int = 4 * _MIB, rate: int = 2 * _MIB) -> str:
    """Begin a restore that takes some seconds, because it is throttled; return its id."""
    disk = place.disk("disk.raw", size, seed=1)
    server = place.restead("server", "add", "web-1", "--project", PROJECT, "--disk", f"path={disk}").split()[-1]
    backup = running.wait_for_backup(running.begin_backup(server))["id"]
    with disk.open("r+b") as file:
        file.write(b"other" * (size // 8))
    _throttle(running, rate)
    return running.begin_restore(backup)


def _throttle(running: Running, bytes_per_second: int) -> None:
    running.post("/restores/action", {"throttle": {"bytes_per_second": bytes_per_second}})


def _place(folder: Path) -> Place:
    place = Place(folder)
    place.environment["RESTEAD_TOKEN"] = place.token("admin")
    return place


def test_a_service_ends_at_once_though_somebody_listens(tmp_path: Path) -> None:
    """Its streams end with it; `shutdown_grace` is for answers that have an end."""
    place = _place(tmp_path)
    place.environment["RESTEAD_SHUTDOWN_GRACE"] = "30"
    with service(place) as running:
        id = _slow_restore(place, running)
        _throttle(running, _MIB // 4)
        with running.http.stream("GET", f"/restores/{id}/events") as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("event: ")) == "event: accepted"
            began = time.monotonic()
            running.process.terminate()
            assert "event: end" not in list(lines)
            assert running.process.wait(60) == 0
            assert time.monotonic() - began < 20


def test_watching_goes_on_over_a_power_cut(tmp_path: Path) -> None:
    """The command says that it waits, then that the restore was resumed and how it ended."""
    place = _place(tmp_path)
    with service(place) as running:
        id = _slow_restore(place, running)
        port = running.url.rpartition(":")[2]
        watching = subprocess.Popen(
            [RESTEAD, "restores", "watch", id, "--json"], env=place.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith('{"progress": ')
        running.kill()
    with service(place, "--listen", f"127.0.0.1:{port}") as running:
        _throttle(running, 0)
        assert running.wait_for_restore(id)["status"] == "success"
        shown, said = watching.communicate(timeout=60)
        told = running.http.get(f"/restores/{id}/events").text
    assert watching.returncode == 0, said
    assert "still waiting" in said
    assert json.loads(shown.splitlines()[-1])["restore"]["status"] == "success"
    assert "event: resumed" in told


def test_a_restore_that_is_cancelled_puts_every_disk_back(tmp_path: Path) -> None:
    """While it writes; in the end the disk holds what it held before."""
    place = _place(tmp_path)
    with service(place) as running:
        id = _slow_restore(place, running, 32 * _MIB, 16 * _MIB)
        before = (tmp_path / "disk.raw").read_bytes()
        while (tmp_path / "disk.raw").read_bytes() == before:
            time.sleep(0.01)
        _throttle(running, _MIB)
        place.restead("restores", "cancel", id, "--no-wait")
        _throttle(running, 0)
        restore = running.wait_for_restore(id)
    assert restore["status"] == "fail"
    assert [volume["outcome"] for volume in restore["volumes"]] == ["put_back"]
    assert (tmp_path / "disk.raw").read_bytes() == before
