"""The figures as a page, and as JSON."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.contest import Contest, Score, Step
from benchmarks.disks import MIB
from benchmarks.goals import LEAST_SIZE, judge
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
        f"Medians of {rounds}, taken in turn.  In brackets: how many times as fast restead is.",
        "",
        *(f"- {tool.name}: {tool.version or 'not installed'}; {tool.remark}" for tool in tools),
    ]
    return "\n".join(lines) + "\n"


def as_section(tools: Sequence[Tool], contest: Contest) -> str:
    """Return the figures of one kind of disk as Markdown."""
    title = f"### {contest.kind}: {contest.size // MIB} MiB, of which {contest.data // MIB} MiB are no holes"
    return "\n".join(["", title, "", *_table(tools, contest), "", *_goals(contest)]) + "\n"


def _table(tools: Sequence[Tool], contest: Contest) -> Iterator[str]:
    yield f"| | {' | '.join(tool.name for tool in tools)} |"
    yield "|---|" + "---:|" * len(tools)
    ours = contest.scores[OURS]
    for step in Step:
        yield _row(f"{step}, s", tools, contest, partial(_seconds, step, ours))
        yield _row("– CPU, s", tools, contest, partial(_cpu, step))
        yield _row("– peak memory, MiB", tools, contest, partial(_peak, step))
    yield _row("stored by the full backup, MB", tools, contest, lambda score: _number(score.repository(), 0, 1e6))
    yield _row("stored by the second, MB", tools, contest, lambda score: _number(score.added(), 1, 1e6))


def _row(title: str, tools: Sequence[Tool], contest: Contest, cell: Callable[[Score], str]) -> str:
    cells = (cell(contest.scores[tool.name]) if tool.version else "not installed" for tool in tools)
    return f"| {title} | {' | '.join(cells)} |"


def _cpu(step: Step, score: Score) -> str:
    return _number(score.cpu(step), 2)


def _peak(step: Step, score: Score) -> str:
    return _number(score.peak(step), 0, MIB)


def _seconds(step: Step, ours: Score, score: Score) -> str:
    mine, theirs = ours.seconds(step), score.seconds(step)
    if theirs is None or score is ours or not mine:
        return _number(theirs, 2)
    return f"{theirs:.2f} ({theirs / mine:.2f} ×)"


def _number(value: float | None, digits: int, unit: float = 1) -> str:
    return "–" if value is None else f"{value / unit:.{digits}f}"


def _goals(contest: Contest) -> Iterator[str]:
    if contest.size < LEAST_SIZE:
        yield f"Goals are for disks of {LEAST_SIZE // MIB} MiB or more."
        return
    for verdict in judge(contest):
        yield f"- {'reached' if verdict.reached else 'MISSED'}: {verdict.text}"


def as_json(
    about: dict[str, object], tools: Sequence[Tool], seed: int, contests: Sequence[Contest]
) -> dict[str, object]:
    """Return everything that was measured, round by round: seconds, and bytes."""
    return {
        "machine": about,
        "seed": seed,
        "tools": {tool.name: {"version": tool.version, "remark": tool.remark} for tool in tools},
        "contests": [asdict(contest) for contest in contests],
    }
