"""The power goes at every thing that matters in a small backup; after a restart all is right.

What matters: each transaction's begin and commit, each put into the store before it happens and after it happened
but before the answer, each write, zero and flush of a disk, each stop and start of a server.  What a disk had not
flushed is lost, all of it or a part.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.fakes.power import PowerCut
from tests.house import House

from restead.domain.states import BackupState, RestoreState

SIZES = (24 * 1024, 8192)
MOST = 400  # more things than a small story has
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def _house() -> Iterator[House]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        house = House(Path(folder), chunk_size=512)
        yield house
        house.close()


def _runs_into_power_cut(house: House, cut_at: int, story: Callable[[], object]) -> bool:
    house.cut_power_at(cut_at)
    try:
        story()
    except PowerCut:
        return True
    return False


def _no_session_is_open(house: House) -> None:
    state = house.repository.log.refresh()
    assert [number for number, session in state.sessions.items() if session.open] == []


def _cut_in_backup(house: House, cut_at: int, *, again: random.Random | None = None) -> bool:
    """Back up twice, the second time with a power cut; then restore both.  False: the story was over before."""
    server = house.server(SIZES)
    first_bytes = house.disks(server)
    first = house.protect(server)
    house.scribble(server, seed=2)
    second_bytes = house.disks(server)
    cut = _runs_into_power_cut(house, cut_at, lambda: house.protect(server))
    house.crash_and_restart()
    while cut and again and _runs_into_power_cut(house, again.randrange(1, 60), house.drain):
        house.crash_and_restart()
    house.power.cut_at = None
    house.drain()
    _no_session_is_open(house)
    backups = house.all_backups()
    assert {backup.state for backup in backups} == {BackupState.AVAILABLE}
    assert len(backups) in (1, 2)  # not promised, or kept
    for backup in backups:
        house.scribble(server, seed=3)
        assert house.restore(backup).state is RestoreState.SUCCESS
        assert house.disks(server) == (first_bytes if backup.id == first.id else second_bytes)
    return cut


@pytest.mark.parametrize("share", range(4))
def test_a_backup_survives_a_power_cut_anywhere(share: int) -> None:
    """What was committed is whole, what was promised is made, and older backups are as they were."""
    for cut_at in range(1 + share, MOST, 4):
        with _house() as house:
            if not _cut_in_backup(house, cut_at):
                assert cut_at > 20, "a backup has more things than this that matter"
                return
    pytest.fail(f"the story has more than {MOST} things that matter")


@pytest.mark.parametrize("seed", range(8))
def test_the_power_may_go_again_and_again(seed: int) -> None:
    """Also during what the restart does."""
    chance = random.Random(seed)
    with _house() as house:
        _cut_in_backup(house, chance.randrange(5, 40), again=chance)
