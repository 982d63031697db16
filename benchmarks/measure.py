"""What a command cost, measured from outside."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run.

    *flush*: a file that it writes and that must be on stable storage at the end.  *server*: the process that does
    the work for it; what that one needs meanwhile is counted too.
    """

    argv: Sequence[str | Path]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)  # added to our own
    flush: Path | None = None
    server: int | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command cost."""

    seconds: float  # start of the process to its end, and the flush
    cpu: float  # seconds, user and system, of all its processes
    peak: int  # bytes: most memory that one of its processes had at a time


def run(command: Command, scratch: Path) -> Cost:
    """Run a command in a fresh process and measure it.  What was written before is flushed first.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    result, log = scratch / "cost.json", scratch / "output"
    os.sync()
    before = _begin(command.server) if command.server else 0.0
    arguments = [str(part) for part in (result, log, command.flush or "", *command.argv)]
    subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCHER), *arguments],
        cwd=command.cwd,
        env={**os.environ, **command.env},
        check=True,
    )
    cost = json.loads(result.read_text())
    if cost["status"] != 0:
        said = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command.argv))} ended with {cost['status']}: {said}")
    if command.server is None:
        return Cost(cost["seconds"], cost["cpu"], cost["peak"])
    spent = _processor_time(command.server) - before
    return Cost(cost["seconds"], cost["cpu"] + spent, max(cost["peak"], _peak(command.server)))


def _begin(pid: int) -> float:
    """Let the peak memory of a process be what it holds now; return the processor time that it has spent."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return _processor_time(pid)


def _processor_time(pid: int) -> float:
    """Seconds, user and system, of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024
