"""The benchmarks run, measure every tool that is there, and notice a wrong byte.  No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.contest import Contest, Score, Step, require_same
from benchmarks.disks import MIB, PIECE, data_extents, make_disk, make_next_day
from benchmarks.goals import judge
from benchmarks.measure import Command, Cost, run
from benchmarks.tools import all_tools

ROOT = Path(__file__).parent.parent.parent


def test_every_tool_that_is_installed_does_every_step(tmp_path: Path) -> None:
    """Each step has a row and each tool a column; whoever restores other bytes ends the run with an error."""
    figures = tmp_path / "figures.json"
    flags = ["--size-mib", "64", "--rounds", "1", "--kinds", "sys", "--json", figures]
    command = [sys.executable, "-m", "benchmarks", *flags, "--memory", tmp_path, "--target", tmp_path]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tools = all_tools()
    heads = [line for line in done.stdout.splitlines() if line.startswith("| |")]
    assert heads == [f"| | {' | '.join(tool.name for tool in tools)} |"]
    rows = {line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")}
    assert {f"{step}, s" for step in Step} <= rows
    scores = json.loads(figures.read_text())["contests"][0]["scores"]
    for tool in tools:
        steps = set(scores[tool.name]["costs"])
        done_by = {"restead serve": set(Step) - {Step.VERIFY, Step.OPEN}, "cp": {Step.RESTORE}, "dd": {Step.RESTORE}}
        expected = done_by.get(tool.name, set(Step)) if tool.version else set()
        assert steps == expected, tool.name
    assert list(tmp_path.iterdir()) == [figures], "disks and repositories are removed"


def test_a_tool_that_is_not_installed_is_said_to_be(tmp_path: Path) -> None:
    """Its column is there and empty, rather than silently missing."""
    program = "import benchmarks.__main__ as it; it.main()"
    flags = ["--size-mib", "8", "--rounds", "1", "--kinds", "db", "--memory", tmp_path, "--target", tmp_path]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, flags)],
        cwd=ROOT, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "- restic: not installed" in done.stdout
    assert done.stdout.count("| not installed |") > 0


def test_a_wrong_byte_is_found(tmp_path: Path) -> None:
    """Also the last one, and a length that differs."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(9 * MIB))
    other.write_bytes(bytes(9 * MIB))
    require_same(one, other)
    other.write_bytes(bytes(9 * MIB - 1) + b"\1")
    with pytest.raises(RuntimeError, match=f"differs .* at byte {9 * MIB - 1}"):
        require_same(one, other)
    other.write_bytes(bytes(9 * MIB - 1))
    with pytest.raises(RuntimeError, match=f"holds {9 * MIB - 1} bytes"):
        require_same(one, other)


def test_a_database_disk_is_the_same_everywhere_and_a_day_changes_3_percent(tmp_path: Path) -> None:
    """So figures of two machines are about the same work."""
    days = [tmp_path / name for name in ("one", "again", "next")]
    make_disk("db", days[0], 32 * MIB, seed=5)
    make_disk("db", days[1], 32 * MIB, seed=5)
    require_same(days[0], days[1])
    make_next_day("db", days[0], days[2], seed=5)
    pieces = range(0, 32 * MIB, PIECE)
    before, after = days[0].read_bytes(), days[2].read_bytes()
    changed = sum(before[at : at + PIECE] != after[at : at + PIECE] for at in pieces)
    assert changed == len(pieces) * 3 // 100


def test_holes_of_a_disk_stay_holes_a_day_later(tmp_path: Path) -> None:
    """A system disk's free space costs nothing on either day."""
    day1, day2 = tmp_path / "one", tmp_path / "two"
    make_disk("sys", day1, 48 * MIB, seed=5)
    make_next_day("sys", day1, day2, seed=5)
    data = [sum(end - start for start, end in data_extents(day)) for day in (day1, day2)]
    assert data[0] < 40 * MIB
    assert data[0] <= data[1] < data[0] + 48 * MIB * 4 // 100


def test_the_cost_is_the_commands_own(tmp_path: Path) -> None:
    """Memory and processor time of the command, and not of the process that starts it."""
    hungry = Command([sys.executable, "-c", f"b = bytearray({64 * MIB}); b[::4096] = b'x' * len(b[::4096])"], tmp_path)
    small = Command(["true"], tmp_path)
    ballast = b"x" * (200 * MIB)
    costs = [run(hungry, tmp_path), run(small, tmp_path)]
    assert len(ballast) == 200 * MIB
    assert 64 * MIB < costs[0].peak < 128 * MIB
    assert costs[1].peak < 32 * MIB
    assert costs[0].cpu > costs[1].cpu
    with pytest.raises(RuntimeError, match="ended with 3: no such luck"):
        run(Command(["sh", "-c", "echo no such luck; exit 3"], tmp_path), tmp_path)


def test_goals_are_judged_by_the_faster_peer() -> None:
    """A goal that is missed is said to be."""
    scores = {name: Score() for name in ("restead", "restic", "borg 1M", "borg 256K", "cp", "dd")}
    for name, seconds in (("restead", 1.0), ("restic", 9.0), ("borg 1M", 3.0), ("borg 256K", 1.5)):
        scores[name].costs[Step.FULL] = [Cost(seconds, seconds, 200 * MIB)]
    verdicts = list(judge(Contest("sys", 1, 1, scores)))
    assert [(verdict.reached, verdict.text) for verdict in verdicts] == [
        (True, "full backup: 9.00 × as fast as restic, expected 4 ×"),
        (False, "full backup: 1.50 × as fast as borg, expected 2 ×"),
        (False, "peak memory 200 MiB, expected at most 150"),
    ]
