"""The measuring of live backups runs, for both formats.  No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MOMENTS, SIZE, CHUNK, PIECE = 2, 8 << 20, 256 << 10, 64 << 10


def test_live_backups_are_measured_with_raw_disks_and_qcow2(tmp_path: Path) -> None:
    """The run itself compares the last increment with the stopped server's disk."""
    memory, figures = tmp_path / "memory", tmp_path / "figures.json"
    memory.mkdir()
    flags = ["--size-mib", SIZE >> 20, "--moments", MOMENTS, "--rounds", 1, "--memory", memory, "--json", figures]
    command = [sys.executable, "-m", "benchmarks.live", *flags]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["formats"]
    assert list(found) == ["raw", "qcow2"]
    for each in found.values():
        assert len(each["pauses"]) == len(each["bare"]) == MOMENTS
        assert min(each["pauses"]) > 0
        assert [len(spent) for spent in each["beside"].values()] == [1, 1, 1, 1]
        assert each["beside"]["no backup"][0]["writes"] > 0
        assert {length for ((length, _),) in each["reads"].values()} == {SIZE}
        full, *increments = each["increments"]
        assert (full["read"], full["told"]) == (SIZE, None)
        assert [one["changed"] for one in increments] == [PIECE, PIECE, 16 * PIECE, 16 * PIECE]
        for one in increments:
            assert 0 < one["new"] <= one["changed"] // PIECE * CHUNK
            assert one["read"] == SIZE if not one["bitmap"] else one["new"] <= one["read"] < SIZE
            assert (one["told"] is not None) == one["bitmap"]
    assert list(memory.iterdir()) == [], "disks, repositories and the guest are removed"
