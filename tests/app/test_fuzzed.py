"""A service that is sent nonsense: no answer is a fault of ours, and it goes on as if nothing had been.

`RESTEAD_FUZZ=10000 pytest tests/app/test_fuzzed.py` sends as much as you like.
"""

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.app.running import Place, Running, service
from tests.lab.fuzzer import Fuzzer

_MIB = 1 << 20
CASES = int(os.environ.get("RESTEAD_FUZZ", "300"))
FIRST = int(os.environ.get("RESTEAD_FUZZ_FIRST", "0"))
_GROWTH = 48 * _MIB  # of memory, between the first requests and the last


@pytest.mark.timeout(max(300, CASES))
def test_bad_requests_are_answered_and_forgotten(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.environment["RESTEAD_TOKEN"] = place.token("admin")
    with service(place) as running:
        disk = place.disk("disk.raw", 4 * _MIB, seed=1)
        server = place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={disk}").split()[-1]
        fuzzer, seen = _fuzzer(running), Counter[bytes]()
        with ThreadPoolExecutor(8) as pool:
            cases = range(FIRST, FIRST + CASES)
            for number, answers in enumerate(pool.map(lambda each: _answers(fuzzer, each), cases)):
                seen.update(answers)
                if number == min(CASES // 2, 1000):
                    before = _memory(running)
        assert _memory(running) < before + _GROWTH
        assert running.wait_for_backup(running.begin_backup(server))["status"] == "available"
        assert {b"200", b"400", b"404", b"405", b"413", b"431"} <= set(seen)
    log = place.log.read_text()
    assert "Traceback" not in log
    errors = [line for line in place.log_lines() if line["level"] == "error"]
    assert [(line["event"], str(line.get("exception"))[-900:]) for line in errors] == []


def _fuzzer(running: Running) -> Fuzzer:
    paths = running.http.get(f"{running.url}/openapi.json").json()["paths"]
    # Replication is published, and answers 500 where there is no other region.
    known = [(method, path) for path, methods in paths.items() for method in methods if not path.endswith("/replicate")]
    others = [("get", path) for path in ("/docs", "/docs/{name}", "/openapi.json", "/metrics", "/healthz", "/readyz")]
    address = urlsplit(running.url)
    assert address.hostname is not None
    assert address.port is not None
    token = running.place.environment["RESTEAD_TOKEN"]
    return Fuzzer((address.hostname, address.port), token, [*known, *others], seed=1)


def _answers(fuzzer: Fuzzer, number: int) -> list[bytes]:
    """Return the statuses that request *number* was answered with."""
    asked, answer = fuzzer.send(number)
    found: list[bytes] = re.findall(rb"^HTTP/1\.1 (\d\d\d) ", answer, re.MULTILINE)
    assert not any(status.startswith(b"5") for status in found), f"request {number}: {asked[:500]!r} {answer[:500]!r}"
    return found


def _memory(running: Running) -> int:
    """Return the bytes of memory that the process has."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
