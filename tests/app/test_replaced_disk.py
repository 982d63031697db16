"""A target disk that is replaced while no service lives: what is there then is nobody's to overwrite."""

import json
import os
import time
from pathlib import Path

from tests.app.running import PROJECT, Place, Running, service

_MIB = 1 << 20


def test_a_disk_that_came_after_kill_9_is_not_touched(tmp_path: Path) -> None:
    """Killed in the middle of writing; another file gets the disk's name; the restore fails and says so."""
    place = Place(tmp_path)
    disk, other = place.disk("disk.raw", 48 * _MIB, seed=1), tmp_path / "other.raw"
    with service(place) as first:
        words = "server", "add", "web-1", "--project", PROJECT, "--disk", f"path={disk}"
        backup = first.wait_for_backup(first.begin_backup(place.restead(*words).split()[-1]))["id"]
        disk.write_bytes(os.urandom(48 * _MIB))
        id = first.begin_restore(backup)
        first.post(f"/restores/{id}/action", {"throttle": {"bytes_per_second": 20 * _MIB}})
        _await_writing(first, id)
        first.kill()
    other.write_bytes(stranger := os.urandom(48 * _MIB))
    other.replace(disk)
    with service(place) as second:
        restore = second.wait_for_restore(id)
    assert restore["status"] == "fail"
    assert "another disk stands in the place" in json.dumps(restore)
    assert '"outcome": "damaged"' in json.dumps(restore)
    assert disk.read_bytes() == stranger


def _await_writing(running: Running, id: str) -> None:
    until = time.monotonic() + 120
    while '"outcome": "restoring"' not in (shown := json.dumps(running.restore(id))):
        assert "in_progress" in shown
        assert time.monotonic() < until, shown
        time.sleep(0.02)
