"""`python -m benchmarks`: run the contest, print the page."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.contest import Contest, hold
from benchmarks.crowd import SERVERS, hold_crowd
from benchmarks.disks import KINDS, MIB
from benchmarks.report import OURS, as_crowd, as_json, as_section, head_of_page, machine
from benchmarks.tools import Tool, all_tools


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="restead beside tools that people know")
    parser.add_argument("--size-mib", type=int, default=2048, help="of each disk (default 2048)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--tools", default="", help="only these, by name and comma (default: all)")
    parser.add_argument(
        "--crowd-mib", type=int, default=256, help=f"of each of {SERVERS} disks restored at once; 0: none (default 256)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the disks (default 1)")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="for disks and repositories (/dev/shm)")
    parser.add_argument("--target", type=Path, default=Path("/var/tmp"), help="for restored disks (/var/tmp)")
    parser.add_argument("--json", type=Path, help="write every single figure there as well")
    wanted = parser.parse_args()
    tools = [t for t in all_tools() if not wanted.tools or t.name == OURS or t.name in wanted.tools.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # leave nothing behind
    about, contests = machine(), []
    print(head_of_page(about, tools, wanted.rounds), end="", flush=True)
    for kind in wanted.kinds.split(","):
        print(f"{kind}: {wanted.rounds} rounds of {len(tools)} tools", file=sys.stderr, flush=True)
        contests.append(_contest(kind, wanted, tools))
        print(as_section(tools, contests[-1]), end="", flush=True)
    crowd = None
    if wanted.crowd_mib:
        print(f"{SERVERS} restores at once", file=sys.stderr, flush=True)
        with _places(wanted, SERVERS * wanted.crowd_mib * MIB, 3, 1) as (memory, target):
            crowd = hold_crowd(wanted.crowd_mib * MIB, wanted.seed, memory, target)
        print(as_crowd(crowd), end="", flush=True)
    if wanted.json:
        page = as_json(about, tools, wanted.seed, contests, crowd)
        wanted.json.write_text(json.dumps(page, indent=1) + "\n")


def _contest(kind: str, wanted: argparse.Namespace, tools: Sequence[Tool]) -> Contest:
    size = wanted.size_mib * MIB
    with _places(wanted, size, 6, 6) as (memory, target):
        (target / "restored").mkdir()
        return hold(kind, size, wanted.seed, wanted.rounds, tools, memory, target / "restored")


@contextmanager
def _places(wanted: argparse.Namespace, size: int, in_memory: int, in_target: int) -> Iterator[tuple[Path, Path]]:
    """Lend two folders with room for so many disks of that size; nothing is left of them."""
    with ExitStack() as stack:
        memory, target = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restead-bench-", dir=place)))
            for place in (wanted.memory, wanted.target)
        )
        _require_space(memory, in_memory * size)
        _require_space(target, in_target * size)
        yield memory, target


def _require_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        sys.exit(f"{folder.parent} has {free // MIB} MiB free, {needed // MIB} MiB are needed: name another place")


if __name__ == "__main__":
    main()
