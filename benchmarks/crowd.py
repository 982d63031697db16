"""Many restores at once in one service: how much memory it takes.

Each server's disk holds another disk's bytes, so that every restore reads, stores, fetches and writes all of it.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import require_same
from benchmarks.disks import make_disk
from benchmarks.measure import Cost, begin, so_far
from benchmarks.service import PROJECT, RunningService
from benchmarks.service_step import PAUSE, Client

SERVERS = 15
_STRANGER = 5000  # added to the seed of what stands on the targets


@dataclass(frozen=True, slots=True)
class Crowd:
    """What that many restores at once cost the service."""

    servers: int
    size: int  # bytes of the one disk that each has
    at_once: int  # so many had begun to move bytes, and none of them had ended
    cost: Cost


def hold_crowd(size: int, seed: int, memory: Path, target: Path, servers: int = SERVERS) -> Crowd:
    """Restore all servers at once.  Backed-up disks and the repository are in *memory*, restored disks in *target*.

    Raises:
        RuntimeError: a restore failed or restored other bytes.
    """
    sources = [memory / f"source{number}" for number in range(servers)]
    targets = [target / f"disk{number}" for number in range(servers)]
    for number, (source, disk) in enumerate(zip(sources, targets, strict=True)):
        make_disk("db", source, size, seed + number)
        make_disk("db", disk, size, seed + _STRANGER + number)
    (memory / "service").mkdir()
    with closing(RunningService(memory / "service", {"RESTEAD_RUNS": str(servers)}, servers)) as service:
        client = Client(service.url, service.token, PROJECT)
        for number, (server, source) in enumerate(zip(service.servers, sources, strict=True)):
            service.lead_to(number, source)
            client.back_up(server)
            service.lead_to(number, targets[number])
        at_once, cost = _restore_all(service, client)
    for source, disk in zip(sources, targets, strict=True):
        require_same(source, disk)
    return Crowd(servers, size, at_once, cost)


def _restore_all(service: RunningService, client: Client) -> tuple[int, Cost]:
    before, start = begin(service.pid), time.monotonic()
    restores = [client.begin_restore(server)["id"] for server in service.servers]
    at_once = 0
    while True:
        found = [client.call("GET", f"/restores/{id}")["restore"] for id in restores]
        at_once = max(at_once, sum(one["status"] == "in_progress" and one["progress"] > 0 for one in found))
        if not any(one["status"] == "in_progress" for one in found):
            break
        time.sleep(PAUSE)
    cost = so_far(service.pid, before, time.monotonic() - start)
    _require_success(found)
    return at_once, cost


def _require_success(restores: Sequence[dict[str, object]]) -> None:
    if failed := [one for one in restores if one["status"] != "success"]:
        raise RuntimeError(str(failed[0]))
