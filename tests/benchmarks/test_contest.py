"""The benchmarks run, measure every tool that is there, and notice a wrong byte.  No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.contest import Contest, Score, require_same
from benchmarks.crowd import Crowd
from benchmarks.disks import DISK, MIB, PIECE, data_extents, make_disk, make_next_day
from benchmarks.goals import judge, judge_crowd
from benchmarks.measure import Command, Cost, run
from benchmarks.stands import Stands
from benchmarks.steps import WAYS, Step
from benchmarks.tools import all_tools

ROOT = Path(__file__).parent.parent.parent


def test_every_tool_that_is_installed_does_every_step(tmp_path: Path) -> None:
    """Each step has a row and each tool a column; whoever restores other bytes ends the run with an error."""
    figures = tmp_path / "figures.json"
    flags = ["--size-mib", "64", "--rounds", "1", "--kinds", "sys", "--crowd-mib", "2", "--json", figures]
    command = [sys.executable, "-m", "benchmarks", *flags, "--memory", tmp_path, "--target", tmp_path]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tools = all_tools()
    heads = [line for line in done.stdout.splitlines() if line.startswith("| |")]
    assert heads == [f"| | {' | '.join(tool.name for tool in tools)} |"] * 2, "ratios, and what it took"
    rows = {line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")}
    assert {f"{step}, s" for step in Step} <= rows
    page = json.loads(figures.read_text())
    scores = page["contests"][0]["scores"]
    copies = {Step.RESTORE, Step.OVER}
    some = {"cp": copies, "dd": copies | {Step.READ}, "qemu-img": copies}
    some["restead"] = set(Step) - {Step.READ}
    some["restead serve"] = {Step.FULL, Step.SECOND, Step.RESTORE, Step.OVER, Step.OVER_BARE}
    archives = {Step.FULL, Step.VERIFY, Step.OPEN, Step.SECOND, Step.RESTORE, Step.OVER}
    for tool in tools:
        expected = some.get(tool.name, archives) if tool.version else set()
        assert set(scores[tool.name]["costs"]) == expected, tool.name
    kept = scores["restead"]["kept"]
    assert all(kept[step][0] > MIB // 2 for step, way in WAYS.items() if way.safety), "what is overwritten is stored"
    assert all(kept[step][0] < MIB // 4 for step, way in WAYS.items() if not way.safety)
    assert page["crowd"]["servers"] == 15
    assert list(tmp_path.iterdir()) == [figures], "disks and repositories are removed"


def test_a_tool_that_is_not_installed_is_said_to_be(tmp_path: Path) -> None:
    """Its column is there and empty, rather than silently missing."""
    program = "import benchmarks.__main__ as it; it.main()"
    flags = ["--size-mib", "8", "--rounds", "1", "--kinds", "db", "--crowd-mib", "0"]
    flags += ["--memory", str(tmp_path), "--target", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
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


def test_targets_hold_what_is_said_to_differ(tmp_path: Path) -> None:
    """What differs is counted piece by piece, what is told as a hint covers it, and so does what is prepared."""
    newest, target = tmp_path / DISK, tmp_path / "target"
    make_disk("db", newest, 16 * MIB, seed=5)
    target.mkdir()
    (tmp_path / "stands").mkdir()
    stands = Stands("db", 5, newest, tmp_path / "stands")
    expected = newest.read_bytes()
    for step, way in WAYS.items():
        for proven in (False, True):
            (target / DISK).write_bytes(expected if proven else b"")
            stands.prepare(way.stands, target, proven=proven)
            found = (target / DISK).read_bytes()
            unlike = [at for at in range(0, 16 * MIB, 4096) if found[at : at + 4096] != expected[at : at + 4096]]
            assert len(unlike) * 4096 == stands.differing[step] > 0
            if way.hint:
                hint = json.loads(stands.changed(way.stands).read_text())
                assert all(any(start <= at < start + length for start, length in hint) for at in unlike)
                assert sum(length for _, length in hint) == 16 * MIB // PIECE * 3 // 100 * PIECE
    stands.close()


def test_goals_are_judged_by_the_faster_peer() -> None:
    """A goal that is missed is said to be."""
    scores = {name: Score() for name in ("restead", "restic", "borg 1M", "borg 256K", "cp", "dd")}
    for name, seconds in (("restead", 1.0), ("restic", 9.0), ("borg 1M", 3.0), ("borg 256K", 1.5)):
        scores[name].costs[Step.FULL] = [Cost(seconds, seconds, 200 * MIB)]
    verdicts = list(judge(Contest("sys", 1, 1, {}, scores)))
    assert [(verdict.reached, verdict.text) for verdict in verdicts] == [
        (True, "full backup: 9.00 × as fast as restic, expected 4 ×"),
        (False, "full backup: 1.50 × as fast as borg, expected 2 ×"),
        (False, "peak memory 200 MiB, expected at most 150"),
    ]


def test_goals_of_restores_in_place() -> None:
    """By hashing one of two is enough; all else must be reached each for itself."""
    scores = {name: Score() for name in ("restead", "restic", "dd")}
    ours, differing = scores["restead"].costs, dict.fromkeys(WAYS, 100)
    for step, seconds, written in (
        (Step.OVER, 3.0, 102), (Step.OVER_BARE, 2.0, 100), (Step.HINTED, 0.5, 103), (Step.HINTED_BARE, 0.5, 100),
    ):  # fmt: skip
        ours[step] = [Cost(seconds, seconds, MIB, written)]
    scores["restic"].costs[Step.RESTORE] = [Cost(5.0, 5.0, MIB)]
    scores["dd"].costs[Step.READ] = [Cost(2.0, 2.0, MIB)]
    assert [(verdict.reached, verdict.text) for verdict in judge(Contest("db", 1, 1, differing, scores))][:-1] == [
        (True, f"{Step.OVER}: 1.67 × as fast as restic's full restore and 67% of the target's read speed, "
               f"expected 2 × or 60%"),
        (True, f"{Step.HINTED}: 10.00 × as fast as restic's full restore, expected 10 ×"),
        (False, f"{Step.HINTED_BARE}: 10.00 × as fast as restic's full restore, expected 15 ×"),
        (True, f"{Step.OVER}: wrote 1.020 of the 4 KiB pieces that differ, expected at most 1.02"),
        (False, f"{Step.HINTED}: wrote 1.030 of the 4 KiB pieces that differ, expected at most 1.02"),
        (False, f"{Step.OVER}: the safety copy costs 50% of the time, expected at most 30%"),
    ]  # fmt: skip


def test_a_crowd_that_was_none_proves_nothing() -> None:
    """Few restores at once are small, too."""
    small, large = Cost(1, 1, 100 * MIB), Cost(1, 1, 1025 * MIB)
    assert [judge_crowd(crowd).reached for crowd in (
        Crowd(15, MIB, 15, small), Crowd(15, MIB, 14, small), Crowd(15, MIB, 15, large)
    )] == [True, False, False]  # fmt: skip
