"""Backups, restores, copies, verifications, deletions, holds, key rotations, ended sessions and collections at once.

In any order, with deaths in between: nothing that a manifest needs is ever lost, everything else is gone in the end.
`RESTEAD_FUZZ=100000 pytest tests/repository/test_interleavings.py` takes any number.
"""

import gc
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from _pytest.outcomes import Failed
from tests.repository.crowd import Crowd, begin
from tests.repository.omissions import OMISSIONS, left_out

from restead.domain.errors import Damaged

CASES = int(os.environ.get("RESTEAD_FUZZ", "20000"))
FIRST = int(os.environ.get("RESTEAD_FUZZ_FIRST", "0"))
SHARES = 8
BEGINNINGS = 24  # different ones, made once for each share
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _live(seeds: Iterable[int]) -> None:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        beginnings = [begin(number, Path(folder)) for number in range(BEGINNINGS)]
        gc.freeze()  # else what pytest holds is walked through again and again
        for seed in seeds:
            place = Path(folder) / str(seed)
            place.mkdir()
            try:
                Crowd(seed, place, beginnings[seed // SHARES % BEGINNINGS]).run()
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            shutil.rmtree(place)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_nothing_is_lost_and_the_rest_goes_in_any_order(share: int) -> None:
    _live(range(FIRST + share, FIRST + CASES, SHARES))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("rule", OMISSIONS)
def test_each_rule_left_out_of_the_code_is_missed(rule: str) -> None:
    """The test above can fail: of the rarest of these one in a thousand cases falls; 20,000 run."""
    with left_out(rule), pytest.raises((Damaged, AssertionError, Failed)):
        _live(range(20_000))
