"""How many requests a service answers in a second, how long the slowest hundredth takes, and what one costs.

    python -m benchmarks.requests                                  SQLite, 10,000 and 1,000,000 backups in the records
    python -m benchmarks.requests --database postgresql://… …      two empty databases, one address each

A real service on loopback, asked by another process over 1 and over 16 connections that stay open.  Shown are backups
of a project, each another one; restored are small servers of another project, one request for each, and what was
promised is done by the service meanwhile.  A round of restores has ended before the next one begins.  Told first is
what the service takes of a processor when nobody asks for anything.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.many_rows import fill, project
from benchmarks.measure import begin, so_far
from benchmarks.service import PROJECT, RunningService
from benchmarks.service_step import PAUSE, Client
from restead.records import Records

_ASKING = Path(__file__).with_name("asking.py")
_CONNECTIONS = (1, 16)
_SHOWN, _WARM = 2000, 300  # requests
_SERVERS, _ROUNDS = 32, 4
_SIZE = 64 << 10  # bytes of each server's disk
_SETTLING, _RESTING = 20, 60  # seconds

Request = tuple[str, str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """What requests took, in seconds."""

    whole: float  # from the first request to the last answer
    each: list[float]
    cpu: float  # of the service, with all that it did meanwhile

    def __add__(self, other: "Answered") -> "Answered":
        return Answered(self.whole + other.whole, self.each + other.each, self.cpu + other.cpu)


def ask(service: RunningService, token: str, connections: int, requests: Sequence[Request]) -> Answered:
    """Raises RuntimeError if one is refused."""
    command = [sys.executable, "-I", "-S", str(_ASKING), service.url, token, str(connections)]
    before = begin(service.pid)
    done = subprocess.run(command, input=json.dumps(requests), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    whole, each = json.loads(done.stdout)
    return Answered(whole, each, so_far(service.pid, before, whole).cpu)


def shown(service: RunningService, token: str, ids: Sequence[str]) -> Iterator[tuple[str, Answered]]:
    """Ask for backups of project 7, in no order."""
    chosen = random.Random(7)
    requests = [("GET", f"/v1/{project(7)}/checkpoint_items/{chosen.choice(ids)}", None) for _ in range(_SHOWN)]
    ask(service, token, max(_CONNECTIONS), requests[:_WARM])
    for connections in _CONNECTIONS:
        yield f"GET /checkpoint_items/{{id}}, {connections}", ask(service, token, connections, requests)


def restored(service: RunningService, folder: Path) -> Iterator[tuple[str, Answered]]:
    """Ask for a restore of every server, round by round."""
    client = Client(service.url, service.token, PROJECT)
    for number, server in enumerate(service.servers):
        disk = folder / f"own{number}"
        disk.write_bytes(random.Random(number).randbytes(_SIZE))
        service.lead_to(number, disk)
        client.back_up(server)
    requests = [_restore(client, server) for server in service.servers]
    for connections in _CONNECTIONS:
        found = Answered(0.0, [], 0.0)
        for _ in range(_ROUNDS):
            found += ask(service, service.token, connections, requests)
            client = Client(service.url, service.token, PROJECT)  # the service has closed the one that was silent
            while client.call("GET", "/restores?status=in_progress&limit=1")["restores"]:
                time.sleep(PAUSE)
        yield f"POST /restores, {connections}", found
    wanted = len(_CONNECTIONS) * _ROUNDS * len(requests)
    done = sum(1 for _ in _all_restores(client))
    if done != wanted or client.call("GET", "/restores?status=fail")["restores"]:
        raise RuntimeError(f"of {wanted} restores {done} are known, or some have failed")


def _restore(client: Client, server: str) -> Request:
    return ("POST", f"/v1/{PROJECT}/restores", {"restore": client.wanted(server)})


def _all_restores(client: Client) -> Iterator[Any]:
    marker = ""
    while found := client.call("GET", f"/restores?limit=1000{marker}")["restores"]:
        yield from found
        marker = f"&marker={found[-1]['id']}"


def _run(url: str | None, count: int, folder: Path, filled: Path | None) -> None:
    """Fill the records with that many backups, or take the file that was *filled*, start the service, and ask."""
    (folder / "data").mkdir(mode=0o700)
    if filled is not None:
        shutil.copyfile(filled / f"{count}.db", folder / "data/records.sqlite")
    os.environ["RESTEAD_DATABASE"] = url or ""
    records = Records.open(url or f"sqlite:///{folder}/data/records.sqlite")
    records.migrate()
    ids = fill(records, count)
    records.close()
    with closing(RunningService(folder, {}, _SERVERS)) as service:
        token = service.token_of(project(7))
        print(f"{count:,} backups in {'PostgreSQL' if url else 'SQLite'}")
        print(f"  nobody asks anything              {_at_rest(service):6.1%} of a processor", flush=True)
        for found in (shown(service, token, ids), restored(service, folder)):
            for name, answered in found:
                print(f"  {name:32}", _figures(answered), flush=True)


def _at_rest(service: RunningService) -> float:
    """Return how much of a processor the service takes when nobody asks for anything, some time after its start."""
    time.sleep(_SETTLING)
    before, began = begin(service.pid), time.monotonic()
    time.sleep(_RESTING)
    seconds = time.monotonic() - began
    return so_far(service.pid, before, seconds).cpu / seconds


def _figures(answered: Answered) -> str:
    each, number = sorted(answered.each), len(answered.each)
    half, most = each[number // 2] * 1e3, each[number * 99 // 100] * 1e3
    rate, cpu = number / answered.whole, answered.cpu / number * 1e3
    return f"{rate:6.0f} / s   half {half:7.1f} ms   p99 {most:7.1f} ms   CPU {cpu:6.2f} ms each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backups", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--database", nargs="+", help="addresses of empty databases, one for each number of backups")
    parser.add_argument("--filled", type=Path, help="folder that `benchmarks.lists --keep` has filled: taken as it is")
    parser.add_argument("--scratch", type=Path, help="where the data folders stand meanwhile")
    asked = parser.parse_args()
    urls = asked.database or [None] * len(asked.backups)
    for url, count in zip(urls, asked.backups, strict=True):
        with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
            _run(url, count, Path(folder), asked.filled)


if __name__ == "__main__":
    main()
