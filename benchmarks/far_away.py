"""How fast a disk comes back from an S3 service far away: many requests under way, beside one at a time.

    python -m benchmarks.far_away [--delay 0.05] [--size 1024]

Starts an S3 service that is all in memory and answers every request that much later, as a process of its own.  One
disk is backed up, then verified and restored to a new file, with one request for 1 MiB at a time and with those
of the service; each step is a process of its own.  Every restored file is compared with its source.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.restead_step import Steward
from restead.app.stores import window_for
from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service
from restead.repository import KeyFile, Repository
from restead.settings import read_settings

_KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
_BUCKET = "s3://backups"
_ONE, _MANY = "one at a time", "as the service"
_SINGLY = {"restore_threads": 1, "portion": 1 << 20, "span": 1 << 20, "whole": 0, "ahead": 0}


class FarSteward(Steward):
    """Keeps one repository in a bucket."""

    def __init__(self, folder: Path, url: str, way: str) -> None:
        self._folder = folder
        self._store = S3Blobs(S3Service("backups", endpoint=url))
        window = window_for(_BUCKET, read_settings(data=folder))
        self._window = replace(window, **_SINGLY) if way == _ONE else window

    def _opened(self) -> Repository:
        key = KeyFile.read(self._folder / "key")
        cache = self._folder / "cache"
        return Repository.open(self._store, key, cache=cache, scratch=self._folder, window=self._window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds added to every request")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the disk")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        _step(*chosen.step)
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, _service(chosen.delay) as url:
        folder, disks = Path(name) / "data", Path(name) / "disks"
        folder.mkdir()
        disks.mkdir()
        disk = _make_disk(disks / "disk.raw", chosen.size)
        _run(folder, url, _MANY, "create")
        print(f"one disk of {chosen.size} MiB, half of which compresses away; {chosen.delay * 1000:.0f} ms a request")
        _say("full backup", _run(folder, url, _MANY, "backup", disk), chosen.size)
        for step in ("verify", "restore"):
            seconds = {}
            for way in (_ONE, _MANY):
                target = disks / f"{step}-{way.replace(' ', '-')}" / "disk.raw"
                target.parent.mkdir()
                done = _run(folder, url, way, step, *([target] if step == "restore" else []))
                seconds[way] = done["seconds"]
                _say(f"{step}, {way}", done, chosen.size)
                if step == "restore":
                    subprocess.run(["cmp", disk, target], check=True)
                    target.unlink()
            print(f"{step}: {seconds[_ONE] / seconds[_MANY]:.1f} times as fast")


def _say(what: str, done: dict[str, float], size: int) -> None:
    print(f"{what}: {done['seconds']:.2f} s, {size / done['seconds']:.0f} MiB/s, {done['cpu']:.2f} s CPU, "
          f"peak {done['memory']:.0f} MiB")  # fmt: skip


def _run(folder: Path, url: str, way: str, step: str, *disk: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.far_away", "--step", str(folder), url, way, step, *map(str, disk)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **_KEYS})
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _step(folder: str, url: str, way: str, step: str, *disk: str) -> None:
    steward = FarSteward(Path(folder), url, way)
    before = time.monotonic()
    getattr(steward, step)(*map(Path, disk))
    seconds = time.monotonic() - before
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1024}))


def _make_disk(path: Path, size: int) -> Path:
    chance = random.Random(1)
    with path.open("wb") as file:
        for _ in range(size * 256):
            file.write(chance.randbytes(2048) + bytes(2048))
    return path


@contextmanager
def _service(delay: float) -> Iterator[str]:
    """Run the service; yield its address."""
    command = [sys.executable, "-m", "tests.lab.memory_s3", str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            yield service.stdout.readline().strip()
        finally:
            service.kill()


if __name__ == "__main__":
    main()
