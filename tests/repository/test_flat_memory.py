"""Property 7: memory does not grow with the disk."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20

SCRIPT = """
import resource, sys
from pathlib import Path
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def disk(size):
    made = MemoryDisk(size, block=65536)
    for n in range(10):
        made.write_at(size // 10 * n + 12345, b"here" * 100_000)
    return made

house = House(Path(sys.argv[1]), chunk_size=256 * 1024, threads=2)
small = disk(64 << 20)
house.restore(house.save(small), MemoryDisk(64 << 20, block=65536))
before = peak()
large = disk(1 << 40)
first = house.save(large)
large.write_at(1 << 39, b"changed")
second = house.save(large, first)
target = MemoryDisk(1 << 40, block=65536)
target.write_at(7 << 30, b"dirty")
house.restore(second, target, repository=house.open())
with house.repository.session(PROJECT, label="r", reads=[first]) as session:
    survey = session.survey(target, first, description=ABOUT)
    session.check_wanted(survey, target)
    (safety,) = session.commit([survey], pins=[first])
    session.rewrite(survey, first, target, expect=True)
    session.reread(first, target)
    session.rewrite(first, safety, target)
zero = bytes(65536)
for key in target._blocks.keys() | large._blocks.keys():
    assert target._blocks.get(key, zero) == large._blocks.get(key, zero), key
print(peak() - before)
"""


@pytest.mark.timeout(120)
def test_a_disk_of_a_tebibyte_takes_no_more_memory_than_one_of_64_mebibytes(tmp_path: Path) -> None:
    """Saved, saved again after a change, restored onto a target with other data, rewritten and put back."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 24 * MEBIBYTE
