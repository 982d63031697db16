"""`python -m benchmarks.marking --chunks 10000000`: what it costs to find out what a collection may remove.

A made-up index of so many chunks, of which every second one is needed.  Walking the pages is not in it.
"""

import argparse
import resource
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from restead.repository.chunk import Form
from restead.repository.mark import Spread, Weighing
from restead.repository.pack import Place
from restead.repository.runs import Hint, Run, write_run

_THINGS = 256  # in a pack
_PAGE = 1024  # names handed over at once


def _name(number: int, count: int) -> bytes:
    return struct.pack(">QQQQ", number * ((1 << 64) // count), number, number, number)


def _records(count: int) -> Iterator[bytes]:
    for number in range(count):
        pack = struct.pack(">Q", number * 2_654_435_761 % (count // _THINGS + 1)) * 4
        yield Hint(_name(number, count), Place(pack, number % _THINGS * 200_000, 150_000, 262_144, Form.ZSTD)).encode()


def _peak() -> int:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.marking")
    parser.add_argument("--chunks", type=int, default=10_000_000)
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"), help="for 120 bytes for each chunk")
    asked = parser.parse_args()
    count: int = asked.chunks
    with TemporaryDirectory(prefix="restead-bench-", dir=asked.scratch) as folder:
        path = Path(folder) / "run"
        run = Run(path, write_run(path, _records(count)))
        before, begun = _peak(), time.process_time()
        with closing(Spread(Path(folder))) as spread:
            for first in range(0, count, 2 * _PAGE):
                last = min(first + 2 * _PAGE, count)
                spread.add(b"".join(_name(number, count) for number in range(first, last, 2)))
            spent = time.process_time() - begun
            found = Weighing(frozenset(), lambda _: True).run(spread, run.records(), lambda: None)
        total = time.process_time() - begun
    print(f"{count} chunks in {len(found.total)} packs: names spread in {spent:.1f} s, all in {total:.1f} s of CPU; "
          f"peak memory {_peak()} MiB, {before} before")  # fmt: skip


if __name__ == "__main__":
    main()
