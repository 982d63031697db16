"""restead beside restic, borg and Cinder's chunked driver, in a folder and over S3: `python -m benchmarks.over_s3`.

One disk is backed up, read back and checked, backed up again with 3 % changed, and restored to a new file: in a folder
in memory, in OpenStack Swift by its S3 door on this machine, and there with some milliseconds added to each request.
Tools take turns within each step; every step is a process of its own; every restored file is compared with its source.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.buckets import Bucket, bucket_in, farther
from benchmarks.cinder_tool import CinderRepository, cinder_version
from benchmarks.contest import require_same
from benchmarks.disks import DISK, MIB, make_disk, make_next_day
from benchmarks.measure import Command, Cost, run
from benchmarks.report import machine
from benchmarks.steps import Step
from benchmarks.tools import BorgRepository, Repository, ResteadRepository, ResticRepository, version_of

STEPS = (Step.OPEN, Step.FULL, Step.VERIFY, Step.SECOND, Step.RESTORE)
OURS = "restead"
_REQUESTS = 32  # that restead has under way: what restic is told, too
_AT_ONCE = ("-o", f"s3.connections={_REQUESTS}")


@dataclass(slots=True)
class Figures:
    """What one tool needed at one place, round by round."""

    costs: dict[Step, list[Cost]] = field(default_factory=dict)
    stored: list[tuple[int, int]] = field(default_factory=list)  # bytes after the full, after the second backup


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool at a place: its repository in that empty folder, or for a bucket under that prefix."""

    name: str
    at: Callable[[Path, str], Repository]
    stored: Callable[[Repository, str], int]  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=1024, help="of the disk (default 1024)")
    parser.add_argument("--kind", default="db", help="of the disk: db or sys (default db)")
    parser.add_argument("--rounds", type=int, default=1, help="medians of so many (default 1)")
    parser.add_argument("--delays", default="0,50", help="milliseconds added to each request (default 0,50)")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="for disks and repositories (/dev/shm)")
    parser.add_argument("--target", type=Path, default=Path("/var/tmp"), help="for Swift and restored disks (/var/tmp)")
    parser.add_argument("--json", type=Path, help="write every single figure there as well")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # leave nothing behind
    about, delays = machine(), [float(each) / 1000 for each in wanted.delays.split(",") if each]
    print(_head(about, wanted.rounds), flush=True)
    found: dict[str, dict[str, Figures]] = {}
    with ExitStack() as stack:
        memory, target = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restead-bench-", dir=place)))
            for place in (wanted.memory, wanted.target)
        )
        days = _disks(wanted.kind, wanted.size_mib * MIB, memory)
        found["in a folder"] = _hold(_in_a_folder(), days, wanted.rounds, memory, target)
        print(_section("in a folder", found["in a folder"]), flush=True)
        bucket = stack.enter_context(bucket_in(target / "swift"))
        for delay in delays:
            with farther(bucket, delay) as way:
                place = f"over S3, {delay * 1000:.0f} ms added to each request"
                found[place] = _hold(_in_a_bucket(way), days, wanted.rounds, memory, target)
                print(_section(place, found[place]), flush=True)
    if wanted.json:
        page = {"machine": about, "size_mib": wanted.size_mib, "kind": wanted.kind, "places": {
            place: {name: asdict(each) for name, each in figures.items()} for place, figures in found.items()
        }}  # fmt: skip
        wanted.json.write_text(json.dumps(page, indent=1) + "\n")


def _disks(kind: str, size: int, memory: Path) -> list[Path]:
    days = [memory / "day1", memory / "day2"]
    for day in days:
        day.mkdir()
    make_disk(kind, days[0] / DISK, size, 1)
    make_next_day(kind, days[0] / DISK, days[1] / DISK, 1)
    return days


# ---------------------------------------------------------------------- who competes where


def _in_a_folder() -> Iterator[Contender]:
    def stored(repository: Repository, _: str) -> int:
        assert repository.place is not None
        return sum(path.stat().st_size for path in repository.place.rglob("*") if path.is_file())

    yield Contender(OURS, lambda folder, _: ResteadRepository(folder), stored)
    if version_of("restic", "version"):
        yield Contender("restic", lambda folder, _: ResticRepository(folder), stored)
    if version_of("borg", "--version"):
        yield Contender("borg 256K", lambda folder, _: BorgRepository(folder, 256 << 10), stored)
    if cinder_version():
        yield Contender("Cinder", lambda folder, _: CinderRepository(folder), stored)


def _in_a_bucket(bucket: Bucket) -> Iterator[Contender]:
    """borg keeps its repositories in folders only.  The names of Cinder's objects begin with the volume's."""
    url = bucket.endpoint

    def ours(prefix: str) -> Mapping[str, str]:
        return {"RESTEAD_STORE": f"s3://{bucket.name}/{prefix}", "RESTEAD_S3_ENDPOINT": url}

    yield Contender(OURS, lambda folder, at: ResteadRepository(folder, ours(at)), lambda _, at: bucket.stored(at))
    if version_of("restic", "version"):
        yield Contender(
            "restic", lambda folder, at: ResticRepository(folder, f"s3:{url}/{bucket.name}/{at}", _AT_ONCE),
            lambda _, at: bucket.stored(at),
        )  # fmt: skip
    if cinder_version():
        theirs = {"BUCKET": bucket.name, "ENDPOINT": url}
        yield Contender(
            "Cinder", lambda folder, at: CinderRepository(folder, {**theirs, "VOLUME": at}),
            lambda _, at: bucket.stored(f"volume_{at}"),
        )  # fmt: skip


# ---------------------------------------------------------------------- how it goes


def _hold(
    contenders: Iterator[Contender], days: Sequence[Path], rounds: int, memory: Path, target: Path
) -> dict[str, Figures]:
    entered = list(contenders)
    found = {each.name: Figures() for each in entered}
    for number in range(rounds):
        with _repositories(entered, memory, number) as repositories:
            for step in STEPS:
                for each in entered:
                    repository, prefix = repositories[each.name]
                    _measure(found[each.name], step, repository, days, target)
                    if step in (Step.FULL, Step.SECOND):
                        _note(found[each.name], step, each.stored(repository, prefix))
    return found


@contextmanager
def _repositories(
    contenders: Sequence[Contender], memory: Path, number: int
) -> Iterator[dict[str, tuple[Repository, str]]]:
    made: dict[str, tuple[Repository, str]] = {}
    for each in contenders:
        folder = Path(tempfile.mkdtemp(prefix=f"{each.name.split()[0].lower()}-", dir=memory))
        prefix = f"{folder.name}-{number}"
        made[each.name] = each.at(folder, prefix), prefix
    yield made
    for repository, _ in made.values():
        repository.close()
    for folder in memory.iterdir():
        if not folder.name.startswith("day"):
            shutil.rmtree(folder)


def _measure(figures: Figures, step: Step, repository: Repository, days: Sequence[Path], target: Path) -> None:
    restored = target / "restored"
    command: Command | None
    if step is Step.RESTORE:
        restored.mkdir()
        command = repository.restore(days[1], restored)
    elif step in (Step.FULL, Step.SECOND):
        command = repository.backup(days[step is Step.SECOND])
    else:
        command = repository.verify() if step is Step.VERIFY else repository.open()
    if command is None:
        return
    figures.costs.setdefault(step, []).append(run(command, target))
    if step is Step.RESTORE:
        require_same(days[1] / DISK, restored / DISK)
        shutil.rmtree(restored)


def _note(figures: Figures, step: Step, stored: int) -> None:
    if step is Step.FULL:
        figures.stored.append((stored, stored))
    else:
        figures.stored[-1] = (figures.stored[-1][0], stored)


# ---------------------------------------------------------------------- what it says


def _head(about: Mapping[str, object], rounds: int) -> str:
    tools = (
        ("restead", version("restead"), f"256 KiB chunks, key file; over S3 {_REQUESTS} requests, one writer"),
        ("restic", version_of("restic", "version"), f"its defaults; over S3 -o s3.connections={_REQUESTS}"),
        ("borg 256K", version_of("borg", "--version"), "fixed chunks of 256 KiB, zstd 1, repokey; folders only"),
        ("Cinder", cinder_version(), "its chunked driver, zstd; encrypts nothing and cannot check what it stored"),
    )
    return "\n".join([
        f"{about['date']}, {about['cpus']} × {about['processor']}, {about['memory_mib']} MiB, Linux {about['kernel']}, "
        f"Python {about['python']}; load before the run {about['load']}.  Rounds: {rounds}.",
        "How many times as fast restead is, and in brackets seconds.",
        "",
        *(f"- {name}: {found or 'not installed'}; {remark}" for name, found, remark in tools),
    ])  # fmt: skip


def _section(place: str, figures: Mapping[str, Figures]) -> str:
    lines = ["", f"#### {place}", "", f"| | {' | '.join(figures)} |", "|---|" + "---:|" * len(figures)]
    ours, all_of_them = figures[OURS], list(figures.values())
    for what, count in (("s", _seconds), ("CPU, s", _cpu)):
        lines += [_row(f"{step}: {what}", all_of_them, partial(_ratio, count, step, ours)) for step in STEPS]
    lines += [_row(f"{step}: peak memory, MiB", all_of_them, partial(_peak, step)) for step in STEPS]
    lines.append(_row("stored by the full backup, MB", all_of_them, partial(_stored, 0)))
    lines.append(_row("stored by the second, MB", all_of_them, partial(_stored, 1)))
    return "\n".join(lines)


def _row(title: str, figures: Sequence[Figures], cell: Callable[[Figures], str]) -> str:
    return f"| {title} | {' | '.join(map(cell, figures))} |"


def _seconds(cost: Cost) -> float:
    return cost.seconds


def _cpu(cost: Cost) -> float:
    return cost.cpu


def _ratio(count: Callable[[Cost], float], step: Step, ours: Figures, figures: Figures) -> str:
    if step not in figures.costs:
        return "–"
    mine, theirs = (median(map(count, each.costs[step])) for each in (ours, figures))
    return f"{mine:.2f}" if figures is ours else f"{theirs / mine:.2f} × ({theirs:.2f})"


def _peak(step: Step, figures: Figures) -> str:
    return f"{median(cost.peak for cost in figures.costs[step]) / MIB:.0f}" if step in figures.costs else "–"


def _stored(which: int, figures: Figures) -> str:
    return f"{median((full, second - full)[which] for full, second in figures.stored) / 1e6:.1f}"


if __name__ == "__main__":
    main()
