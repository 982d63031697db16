"""The contest: every tool does every step on the same disks, in turn, round after round."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import median

from benchmarks.disks import DISK, MIB, data_extents, make_disk, make_next_day
from benchmarks.measure import Command, Cost, run
from benchmarks.tools import Repository, Tool


class Step(StrEnum):
    FULL = "full backup"
    VERIFY = "verify it"
    OPEN = "open it and do nothing"
    SECOND = "second backup, 3 % changed"
    RESTORE = "full restore to a new file"


@dataclass(slots=True)
class Score:
    """What one tool needed for one kind of disk, round by round."""

    costs: dict[Step, list[Cost]] = field(default_factory=dict)
    stored: list[tuple[int, int]] = field(default_factory=list)  # bytes after the full, after the second backup

    def seconds(self, step: Step) -> float | None:
        return median(cost.seconds for cost in self.costs[step]) if step in self.costs else None

    def cpu(self, step: Step) -> float | None:
        return median(cost.cpu for cost in self.costs[step]) if step in self.costs else None

    def peak(self, step: Step) -> float | None:
        """Bytes."""
        return median(cost.peak for cost in self.costs[step]) if step in self.costs else None

    def repository(self) -> float | None:
        """Bytes stored after the full backup."""
        return median(full for full, _ in self.stored) if self.stored else None

    def added(self) -> float | None:
        """Bytes that the second backup added."""
        return median(second - full for full, second in self.stored) if self.stored else None


@dataclass(slots=True)
class Contest:
    """One kind of disk, all tools."""

    kind: str
    size: int  # bytes
    data: int  # bytes of it that are no holes
    scores: dict[str, Score]  # by name of the tool; tools that are not installed have an empty one


def hold(kind: str, size: int, seed: int, rounds: int, tools: Sequence[Tool], memory: Path, target: Path) -> Contest:
    """Let the tools compete.  Disks and repositories are in *memory*, restored disks in *target*: folders of ours.

    Raises:
        RuntimeError: a tool failed, or restored other bytes than it was given.
    """
    days = [memory / "day1", memory / "day2"]
    for day in days:
        day.mkdir()
    make_disk(kind, days[0] / DISK, size, seed)
    make_next_day(kind, days[0] / DISK, days[1] / DISK, seed)
    data = sum(end - start for start, end in data_extents(days[0] / DISK))
    contest = Contest(kind, size, data, {tool.name: Score() for tool in tools})
    for _ in range(rounds):
        _hold_round(contest, [tool for tool in tools if tool.version], days, memory, target)
    for day in days:
        shutil.rmtree(day)
    return contest


def _hold_round(contest: Contest, tools: Sequence[Tool], days: Sequence[Path], memory: Path, target: Path) -> None:
    with ExitStack() as stack:
        repositories: dict[str, Repository] = {}
        for tool in tools:
            repositories[tool.name] = tool.at(_fresh(memory / tool.name))
            stack.callback(repositories[tool.name].close)
        _do_steps(contest, repositories, days, target)
    for tool in tools:
        shutil.rmtree(memory / tool.name)


def _do_steps(contest: Contest, repositories: dict[str, Repository], days: Sequence[Path], target: Path) -> None:
    sizes: dict[str, int] = {}
    for step in Step:
        day = days[1] if step in (Step.SECOND, Step.RESTORE) else days[0]
        for name, repository in repositories.items():
            _measure(contest.scores[name], step, repository, day, target)
            if step is Step.FULL:
                sizes[name] = _stored(repository)
    for name, repository in repositories.items():
        if repository.place:
            contest.scores[name].stored.append((sizes[name], _stored(repository)))


def _measure(score: Score, step: Step, repository: Repository, day: Path, target: Path) -> None:
    commands: dict[Step, Callable[[], Command | None]] = {
        Step.FULL: lambda: repository.backup(day),
        Step.SECOND: lambda: repository.backup(day),
        Step.VERIFY: repository.verify,
        Step.OPEN: repository.open,
        Step.RESTORE: lambda: repository.restore(day, target),
    }
    command = commands[step]()
    if command is None:
        return
    score.costs.setdefault(step, []).append(run(command, target.parent))
    if step is Step.RESTORE:
        require_same(day / DISK, target / DISK)
        _fresh(target)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _stored(repository: Repository) -> int:
    return sum(path.stat().st_size for path in repository.place.rglob("*") if path.is_file()) if repository.place else 0


def require_same(expected: Path, actual: Path) -> None:
    """Return if two files hold the same bytes.

    Raises:
        RuntimeError: they do not, naming the first place.
    """
    if (one := expected.stat().st_size) != (other := actual.stat().st_size):
        raise RuntimeError(f"{actual} holds {other} bytes, {expected} holds {one}")
    at = 0
    for wanted, found in zip(_pieces(expected), _pieces(actual), strict=True):
        if wanted != found:
            place = at + next(i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b)
            raise RuntimeError(f"{actual} differs from {expected} at byte {place}")
        at += len(wanted)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(4 * MIB):
            yield piece
