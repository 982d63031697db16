"""The service as a process, watched by an operator."""

import time
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.app.running import PROJECT, Place, service

_MIB = 1 << 20
_SERVER = "f45c477a-57e5-465f-999f-d845083962db"


def test_a_backup_shows_in_the_metrics(tmp_path: Path) -> None:
    """Its run is counted with its bytes, its server has an age, and the engine's threads are seen to live."""
    place = Place(tmp_path)
    disk = place.disk("system.raw", 8 * _MIB, seed=1)
    with service(place) as running:
        place.restead("server", "add", "web-1", "--project", PROJECT, "--id", _SERVER, "--disk", f"path={disk},boot")
        running.wait_for_backup(running.begin_backup(_SERVER))
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        assert httpx2.get(f"{running.url}/readyz").status_code == 200
        found = _read(running.url)
        until = time.monotonic() + 120
        while ("restead_runs_ended_total", "backup", "success") not in found and time.monotonic() < until:
            time.sleep(0.05)  # it is counted just after everybody can see that it ended
            found = _read(running.url)
    assert found["restead_runs_ended_total", "backup", "success"] == 1
    assert found["restead_backup_read_bytes_total",] > 0
    assert 0 < found["restead_backup_stored_bytes_total",] < 8 * _MIB
    assert 0 <= found["restead_last_good_backup_age_seconds", PROJECT, _SERVER] < 3600
    assert found["restead_engine_up",] == found["restead_records_up",] == 1
    assert found["restead_queue_length",] == 0


def _read(url: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
