"""Property 1: whatever happened to a disk, a restore gives the bytes that were backed up, and zeroes behind them."""

import os

import pytest
from tests.repository.history import live_through

WANTED = int(os.environ.get("RESTEAD_FUZZ", "1000"))
FIRST = int(os.environ.get("RESTEAD_FUZZ_FIRST", "0"))
PORTIONS = 20


@pytest.mark.timeout(0)
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_fuzz_every_history_is_restored_bit_for_bit(portion: int) -> None:
    """Seeds FIRST to FIRST + WANTED; the seed of a failing one is in the message."""
    for seed in range(FIRST + portion, FIRST + WANTED, PORTIONS):
        try:
            live_through(seed)
        except Exception as error:
            error.add_note(f"history of seed {seed}")
            raise
