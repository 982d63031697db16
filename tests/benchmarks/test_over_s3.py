"""The benchmark over S3 runs, at all places and with all tools that are there.  No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.over_s3 import STEPS
from benchmarks.steps import Step
from benchmarks.tools import version_of

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.long
def test_every_tool_does_every_step_in_a_folder_and_in_a_bucket(tmp_path: Path) -> None:
    """Each place has a table with a row for each step; whoever restores other bytes ends the run with an error."""
    places = [tmp_path / name for name in ("memory", "target")]
    for place in places:
        place.mkdir()
    figures = tmp_path / "figures.json"
    flags = ["--size-mib", "8", "--delays", "2", "--json", figures, "--memory", places[0], "--target", places[1]]
    command = [sys.executable, "-m", "benchmarks.over_s3", *flags]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [rows.count(f"{step}: s") for step in STEPS] == [2] * len(STEPS)
    found = json.loads(figures.read_text())["places"]
    assert list(found) == ["in a folder", "over S3, 2 ms added to each request"]
    installed = {name: version_of(*words) for name, words in _PEERS.items()}
    for place, tools in found.items():
        expected = {"restead", *(name for name, version in installed.items() if version)}
        expected -= set() if place == "in a folder" else {"borg 256K"}
        assert expected <= set(tools) <= {*expected, "Cinder"}
        for name, each in tools.items():
            assert set(each["costs"]) == set(STEPS) - ({Step.VERIFY} if name == "Cinder" else set()), name
            (full, second), size = each["stored"][0], 8 << 20
            assert size // 8 < full < second < full + size // 2, f"{name} {place}"
    assert [list(place.iterdir()) for place in places] == [[], []], "disks, repositories and Swift are removed"


_PEERS = {"restic": ("restic", "version"), "borg 256K": ("borg", "--version")}
