"""The contest: every tool does every step on the same disks, in turn, round after round."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.disks import DISK, MIB, data_extents, make_disk, make_next_day
from benchmarks.measure import Command, Cost, run
from benchmarks.stands import Stands
from benchmarks.steps import WAYS, Step
from benchmarks.tools import Repository, Tool


@dataclass(slots=True)
class Score:
    """What one tool needed for one kind of disk, round by round."""

    costs: dict[Step, list[Cost]] = field(default_factory=dict)
    stored: list[tuple[int, int]] = field(default_factory=list)  # bytes after the full, after the second backup
    kept: dict[Step, list[int]] = field(default_factory=dict)  # bytes that a restore has added to the repository

    def seconds(self, step: Step) -> float | None:
        return median(cost.seconds for cost in self.costs[step]) if step in self.costs else None

    def cpu(self, step: Step) -> float | None:
        return median(cost.cpu for cost in self.costs[step]) if step in self.costs else None

    def peak(self, step: Step) -> float | None:
        """Bytes."""
        return median(cost.peak for cost in self.costs[step]) if step in self.costs else None

    def written(self, step: Step) -> float | None:
        """Bytes that went to the target."""
        return median(cost.written for cost in self.costs[step]) if step in self.costs else None

    def kept_by(self, step: Step) -> float | None:
        """Bytes that were stored of what a restore has overwritten."""
        return median(self.kept[step]) if step in self.kept else None

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
    differing: dict[Step, int]  # bytes in 4 KiB pieces that restores in place must write
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
    stands = Stands(kind, seed, days[1] / DISK, _fresh(target.parent / "stands"))
    contest = Contest(kind, size, data, stands.differing, {tool.name: Score() for tool in tools})
    for _ in range(rounds):
        _Round(contest, stands, days, memory, target).hold([tool for tool in tools if tool.version])
    stands.close()
    for day in days:
        shutil.rmtree(day)
    return contest


class _Round:
    """All tools do all steps once."""

    def __init__(self, contest: Contest, stands: Stands, days: Sequence[Path], memory: Path, target: Path) -> None:
        self._contest = contest
        self._stands = stands
        self._days = days
        self._memory = memory
        self._target = target

    def hold(self, tools: Sequence[Tool]) -> None:
        with ExitStack() as stack:
            repositories: dict[str, Repository] = {}
            for tool in tools:
                repositories[tool.name] = tool.at(_fresh(self._memory / tool.name))
                stack.callback(repositories[tool.name].close)
            self._do_steps(repositories)
        for tool in tools:
            shutil.rmtree(self._memory / tool.name)
        _fresh(self._target)

    def _do_steps(self, repositories: dict[str, Repository]) -> None:
        sizes: dict[str, int] = {}
        for step in Step:
            for name, repository in repositories.items():
                score = self._contest.scores[name]
                if step in WAYS:
                    self._restore_over(score, step, repository, self._target / name)
                else:
                    self._measure(score, step, repository, self._target / name)
                if step is Step.FULL:
                    sizes[name] = _stored(repository)
                if step is Step.SECOND and repository.place:
                    score.stored.append((sizes[name], _stored(repository)))

    def _measure(self, score: Score, step: Step, repository: Repository, target: Path) -> None:
        newest = self._days[-1]
        commands: dict[Step, Callable[[], Command | None]] = {
            Step.FULL: lambda: repository.backup(self._days[0]),
            Step.SECOND: lambda: repository.backup(newest),
            Step.VERIFY: repository.verify,
            Step.OPEN: repository.open,
            Step.RESTORE: lambda: repository.restore(newest, _fresh(target)),
            Step.READ: lambda: repository.read(target),
        }
        command = commands[step]()
        if command is None:
            return
        if step is Step.READ:
            self._stands.prepare(WAYS[Step.OVER].stands, _fresh(target), proven=False)
        self._run(score, step, command)
        if step is Step.RESTORE:
            require_same(newest / DISK, target / DISK)
        if step in (Step.RESTORE, Step.READ):
            shutil.rmtree(target)

    def _restore_over(self, score: Score, step: Step, repository: Repository, target: Path) -> None:
        newest, way = self._days[-1], WAYS[step]
        command = repository.restore_over(newest, target, way, self._stands.changed(way.stands))
        if command is None:
            return
        proven = target.exists()
        target.mkdir(exist_ok=True)
        self._stands.prepare(way.stands, target, proven=proven)
        before = _stored(repository)
        self._run(score, step, command)
        if repository.place:
            score.kept.setdefault(step, []).append(_stored(repository) - before)
        require_same(newest / DISK, target / DISK)
        if not any(
            repository.restore_over(newest, target, WAYS[later], self._stands.changed(way.stands))
            for later in list(WAYS)[list(WAYS).index(step) + 1 :]
        ):
            shutil.rmtree(target)

    def _run(self, score: Score, step: Step, command: Command) -> None:
        score.costs.setdefault(step, []).append(run(command, self._target.parent))


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
