"""The figures as a page, and as JSON."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.contest import Contest, Score
from benchmarks.crowd import Crowd
from benchmarks.disks import MIB
from benchmarks.goals import LEAST_SIZE, Verdict, judge, judge_crowd
from benchmarks.steps import WAYS, Step
from benchmarks.tools import Tool

OURS = "restead"


def machine() -> dict[str, object]:
    """Return what a reader must know about the machine and the moment."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),  # over the last minute
    }


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def head_of_page(about: dict[str, object], tools: Sequence[Tool], rounds: int) -> str:
    """Return, as Markdown, what was measured, where and when."""
    lines = [
        f"{about['date']}, {about['cpus']} × {about['processor']}, {about['memory_mib']} MiB, Linux {about['kernel']}, "
        f"Python {about['python']}; load before the run {about['load']}.",
        f"Medians of {rounds}, taken in turn.  How many times as fast restead is, and in brackets seconds.",
        "",
        *(f"- {tool.name}: {tool.version or 'not installed'}; {tool.remark}" for tool in tools),
    ]
    return "\n".join(lines) + "\n"


def as_section(tools: Sequence[Tool], contest: Contest) -> str:
    """Return the figures of one kind of disk as Markdown."""
    title = f"### {contest.kind}: {contest.size // MIB} MiB, of which {contest.data // MIB} MiB are no holes"
    table, details = _table(tools, contest, _ratios(contest)), _table(tools, contest, _details())
    return "\n".join(["", title, "", *table, "", *_goals(contest), "", "What it took:", "", *details]) + "\n"


def as_crowd(crowd: Crowd) -> str:
    """Return what many restores at once took as Markdown."""
    cost = crowd.cost
    title = f"### {crowd.servers} restores at once, each of {crowd.size // MIB} MiB of which all differs"
    took = f"{cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU, {cost.peak / MIB:.0f} MiB of memory in all."
    return "\n".join(["", title, "", took, "", _line(judge_crowd(crowd))]) + "\n"


Cell = Callable[[Score], str]


def _table(tools: Sequence[Tool], contest: Contest, rows: Iterator[tuple[str, Cell]]) -> Iterator[str]:
    yield f"| | {' | '.join(tool.name for tool in tools)} |"
    yield "|---|" + "---:|" * len(tools)
    for title, cell in rows:
        yield _row(title, tools, contest, cell)


def _ratios(contest: Contest) -> Iterator[tuple[str, Cell]]:
    for step in Step:
        yield f"{step}, s", partial(_seconds, step, contest.scores[OURS])


def _details() -> Iterator[tuple[str, Cell]]:
    for step in Step:
        yield f"{step}: CPU, s", partial(_cpu, step)
        yield "– peak memory, MiB", partial(_peak, step)
        if step in WAYS:
            yield "– written to the target, MB", partial(_written, step)
        if step in WAYS and WAYS[step].safety:
            yield "– stored to be put back, MB", partial(_kept, step)
    yield "stored by the full backup, MB", lambda score: _number(score.repository(), 0, 1e6)
    yield "stored by the second, MB", lambda score: _number(score.added(), 1, 1e6)


def _row(title: str, tools: Sequence[Tool], contest: Contest, cell: Cell) -> str:
    cells = (cell(contest.scores[tool.name]) if tool.version else "not installed" for tool in tools)
    return f"| {title} | {' | '.join(cells)} |"


def _cpu(step: Step, score: Score) -> str:
    return _number(score.cpu(step), 2)


def _peak(step: Step, score: Score) -> str:
    return _number(score.peak(step), 0, MIB)


def _written(step: Step, score: Score) -> str:
    return _number(score.written(step), 1, 1e6)


def _kept(step: Step, score: Score) -> str:
    return _number(score.kept_by(step), 1, 1e6)


def _seconds(step: Step, ours: Score, score: Score) -> str:
    """A peer that knows no such way in place restores in the one it has: it is compared with that."""
    mine, theirs = ours.seconds(step), score.seconds(step)
    if theirs is None and step in WAYS and score.seconds(Step.OVER_BARE) is None:
        theirs = score.seconds(Step.OVER)
    if theirs is None or score is ours or not mine:
        return _number(theirs, 2)
    return f"{theirs / mine:.2f} × ({theirs:.2f})"


def _number(value: float | None, digits: int, unit: float = 1) -> str:
    return "–" if value is None else f"{value / unit:.{digits}f}"


def _goals(contest: Contest) -> Iterator[str]:
    if contest.size < LEAST_SIZE:
        yield f"Goals are for disks of {LEAST_SIZE // MIB} MiB or more."
        return
    yield from map(_line, judge(contest))


def _line(verdict: Verdict) -> str:
    return f"- {'reached' if verdict.reached else 'MISSED'}: {verdict.text}"


def as_json(
    about: dict[str, object], tools: Sequence[Tool], seed: int, contests: Sequence[Contest], crowd: Crowd | None
) -> dict[str, object]:
    """Return everything that was measured, round by round: seconds, and bytes."""
    return {
        "machine": about,
        "seed": seed,
        "tools": {tool.name: {"version": tool.version, "remark": tool.remark} for tool in tools},
        "contests": [asdict(contest) for contest in contests],
        "crowd": crowd and asdict(crowd),
    }
