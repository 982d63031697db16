"""What the local index costs: `python -m benchmarks.index --chunks 10000000`.

Makes a cache of that many made-up entries, as a repository of so many chunks has one, and measures opening it, single
look-ups, sorted batches, and memory, each in a process of its own.  CPU seconds, with the files in memory: what disks
add is one read of 4 KiB for each block.
"""

import argparse
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from restead.repository.cache import IndexCache
from restead.repository.chunk import Form
from restead.repository.index import RUN_ENTRIES
from restead.repository.runs import write_run

_PACK_CHUNKS = 400  # chunks in a pack of 64 MiB, compressed to two thirds
_BATCH = 65_536  # names, as one index object has
_MANY = 1_000_000
_LOOKED_UP = 20_000
_TAIL = struct.Struct(">IIIB")  # of an entry as a run keeps it, behind its name and its pack
_GOLDEN = 0x9E37_79B9_7F4A_7C15  # spreads ranks evenly: 2**64 divided by the golden ratio


def _name(number: int, of: int) -> bytes:
    """Return the name of that rank among *of* made-up ones, which are as evenly spread as hashes are."""
    step = (1 << 64) // of
    return (number * step + number * _GOLDEN % step).to_bytes(8, "big") * 4


def _entries(count: int) -> Iterator[bytes]:
    packs, tail = count // _PACK_CHUNKS + 1, _TAIL.pack(48, 170_000, 262_144, Form.ZSTD)
    for number in range(count):
        yield _name(number, count) + (number * 2_654_435_761 % packs).to_bytes(32, "big") + tail


def build(folder: Path, chunks: int) -> None:
    """Make the cache as merging leaves it at worst: each run is eight times as long as all shorter ones together."""
    folder.mkdir(parents=True)
    runs, left, number = [], chunks, 0
    while left:
        count = left if left <= RUN_ENTRIES else -(-left * 8 // 9)
        path = folder / f"run-{number:032x}"
        # Every run spans all names: the i-th takes every name of its own made-up set.
        runs.append([path.name, write_run(path, _entries(count))])
        left, number = left - count, number + 1
    objects = [f"index/{'0' * 32}/{at:032x}" for at in range(-(-chunks // RUN_ENTRIES))]
    (folder / "state.json").write_text(json.dumps({"runs": runs, "objects": objects}))


def _opened(folder: Path) -> IndexCache:
    cache = IndexCache(folder)
    listed = frozenset(json.loads((folder / "state.json").read_bytes())["objects"])
    cache.match(listed, lambda _: iter(()))
    return cache


def _cpu(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _each(cache: IndexCache, names: Sequence[bytes], found: int) -> None:
    hits = sum(1 for name in names if cache.find(name))
    assert hits == found, (hits, found)


def _together(cache: IndexCache, names: Sequence[bytes], found: int) -> None:
    hits = sum(1 for _ in cache.find_many(names))
    assert hits == found, (hits, found)


def measure(folder: Path) -> dict[str, float]:
    """Return what it costs, in seconds of CPU, microseconds for each name, and MiB."""
    count = json.loads((folder / "state.json").read_bytes())["runs"][0][1]  # names of the longest run
    chance = random.Random(7)
    hits = [_name(chance.randrange(count), count) for _ in range(_LOOKED_UP)]
    misses = [os.urandom(32) for _ in range(_LOOKED_UP)]
    batch = sorted({_name(chance.randrange(count), count) for _ in range(min(_BATCH, count // 2))})
    new = sorted(os.urandom(32) for _ in range(2 * _BATCH - len(batch)))  # as many in all, whatever the cache holds
    before = _peak()
    opening = _cpu(lambda: _opened(folder))
    cache = _opened(folder)
    found = {
        "open, s": opening,
        "one, there, us": _cpu(lambda: _each(cache, hits, len(hits))) / len(hits) * 1e6,
        "one, not there, us": _cpu(lambda: _each(cache, misses, 0)) / len(misses) * 1e6,
        "65,536 together, there, us each": _cpu(lambda: _together(cache, batch, len(batch))) / len(batch) * 1e6,
        "65,536 together, not there, us": _cpu(lambda: _together(cache, new, 0)) / len(new) * 1e6,
        "peak memory, MiB": _peak(),
        "of which before opening": before,
        "cache on disk, MiB": sum(path.stat().st_size for path in folder.iterdir()) / (1 << 20),
    }
    many = [_name(rank, count) for rank in range(0, count, max(1, count // _MANY))]
    found["a million together, there, us"] = _cpu(lambda: _together(cache, many, len(many))) / len(many) * 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="an existing cache to measure; for the processes it starts")
    parser.add_argument("--scratch", type=Path, help="for 86 bytes for each chunk (default: for temporary files)")
    asked = parser.parse_args()
    if asked.folder:
        print(json.dumps(measure(asked.folder)))
        return
    for chunks in asked.chunks:
        with tempfile.TemporaryDirectory(prefix="restead-bench-", dir=asked.scratch) as scratch:
            folder = Path(scratch) / "cache"
            building = _cpu(lambda folder=folder, chunks=chunks: build(folder, chunks))  # type: ignore[misc]
            command = [sys.executable, "-m", "benchmarks.index", "--folder", str(folder)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"\n{chunks:,} chunks (cache made in {building:.1f} s of CPU)")
            for what, value in found.items():
                print(f"  {what:32} {value:10.3f}")


if __name__ == "__main__":
    main()
