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
    written: int = 0  # bytes sent to file systems that are not in memory, as the kernel counts them


def run(command: Command, scratch: Path) -> Cost:
    """Run a command in a fresh process and measure it.  What was written before is flushed first.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    result, log = scratch / "cost.json", scratch / "output"
    os.sync()
    before = begin(command.server) if command.server else (0.0, 0)
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
        return Cost(cost["seconds"], cost["cpu"], cost["peak"], cost["written"])
    spent = so_far(command.server, before, cost["seconds"])
    peak, written = max(cost["peak"], spent.peak), cost["written"] + spent.written
    return Cost(cost["seconds"], cost["cpu"] + spent.cpu, peak, written)


def begin(pid: int) -> tuple[float, int]:
    """Let the peak memory of a process be what it holds now; return what it has spent of time and written bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return _processor_time(pid), _written(pid)


def so_far(pid: int, before: tuple[float, int], seconds: float) -> Cost:
    """Return what a running process has cost since `begin`."""
    return Cost(seconds, _processor_time(pid) - before[0], _peak(pid), _written(pid) - before[1])


def _processor_time(pid: int) -> float:
    """Seconds, user and system, of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    """Bytes."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM:") * 1024


def _written(pid: int) -> int:
    """Bytes."""
    return _field(Path(f"/proc/{pid}/io"), "write_bytes:")


def _field(file: Path, name: str) -> int:
    return int(next(line.split()[1] for line in file.read_text().splitlines() if line.startswith(name)))
