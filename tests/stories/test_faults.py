"""Every call to the cloud, the store and the records fails once: each story ends, and ends honestly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.house import House

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.restore import Restore
from restead.domain.states import BackupState, RestoreState, VolumeOutcome
from restead.records import RecordsUnavailable

SIZES = (12 * 1024, 4096)
MOST = 400
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
Story = Callable[[int, Callable[[], Exception]], bool]
ERRORS: list[Callable[[], Exception]] = [
    lambda: Unavailable("a fault"),
    lambda: Damaged("a fault"),
    lambda: NotFound("a fault"),
    lambda: InvalidRequest("a fault"),
    lambda: KeyError("a bug"),
]


@contextmanager
def _house() -> Iterator[House]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        house = House(Path(folder), chunk_size=512)
        yield house
        house.close()


class Fault:
    """Raises once, at the *at*-th thing that happens while a story is told."""

    def __init__(self, at: int, error: Callable[[], Exception]) -> None:
        self.at = at
        self.error = error
        self.met = ""
        self._count = 0

    def __call__(self, what: str) -> None:
        self._count += 1
        if self._count == self.at:
            self.met = what
            # The records raise nothing else: whatever is wrong with them, they do not answer.
            raise RecordsUnavailable("a fault") if what.startswith("records") else self.error()


def _told(house: House, fault: Fault) -> bool:
    """Tell what waits, with the fault; whatever it left open is told again.  False: it was over before the fault."""
    house.power.fault = fault
    try:
        house.drain()
    except RecordsUnavailable:
        pass  # before a run was claimed
    house.power.fault = lambda what: None
    house.engine.take_up()
    house.drain()
    return bool(fault.met)


def _nothing_is_open(house: House) -> None:
    state = house.repository.log.refresh()
    assert [number for number, session in state.sessions.items() if session.open] == []
    assert {backup.state for backup in house.all_backups()} <= {BackupState.AVAILABLE, BackupState.ERROR}


def _backup_with_a_fault(at: int, error: Callable[[], Exception]) -> bool:
    """The backup is good or in error, and the next one is good.  False: it was over before the fault."""
    with _house() as house:
        server = house.server(SIZES)
        promised = house.protect(server, wait=False)
        if not _told(house, Fault(at, error)):
            return False
        wanted = house.disks(server)
        again = house.protect(server)
        assert again.state is BackupState.AVAILABLE
        for made in (house.backup(promised.id), again):
            if made.state is BackupState.AVAILABLE:
                house.scribble(server, 5)
                house.restore(made)
                assert house.disks(server) == wanted
            else:
                assert made.failure is not None
        _nothing_is_open(house)
        return True


def _restore_with_a_fault(at: int, error: Callable[[], Exception]) -> bool:
    """The restore is right, or fails and says what is doubtful; the next one is right.  False: as above."""
    with _house() as house:
        server = house.server(SIZES)
        wanted = house.disks(server)
        backup = house.protect(server)
        house.scribble(server, 2)
        before = house.disks(server)
        promised = house.restore(backup, power_on=True, wait=False)
        if not _told(house, Fault(at, error)):
            return False
        restore = house.wait_for(promised.id)
        if restore.state is RestoreState.SUCCESS:
            assert house.disks(server) == wanted
            assert house.cloud.log == [f"start {server.id}"]
        else:
            _is_honest(house, restore, before, wanted)
        assert house.restore(backup, power_on=True).state is RestoreState.SUCCESS
        assert house.disks(server) == wanted
        _nothing_is_open(house)
        return True


def _is_honest(house: House, restore: Restore, before: list[bytes], wanted: list[bytes]) -> None:
    """Untouched disks hold what they held; others what they should, outside of what is said to be doubtful."""
    assert restore.failure is not None
    assert all(v.outcome is VolumeOutcome.RESTORED for v in restore.volumes) or house.cloud.log == []
    for at, volume in enumerate(restore.volumes):
        held = bytearray(house.cloud.bytes_of(volume.volume_id))
        if volume.outcome is VolumeOutcome.UNTOUCHED:
            assert held == before[at]
            continue
        for offset, length in volume.ranges:
            held[offset : offset + length] = wanted[at][offset : offset + length]
        assert held == wanted[at]


@pytest.mark.parametrize("story", [_backup_with_a_fault, _restore_with_a_fault])
@pytest.mark.parametrize("share", range(3))
def test_a_fault_anywhere_ends_honestly(story: Story, share: int) -> None:
    """Each thing that happens fails once, in one way after the other."""
    for at in range(1 + share, MOST, 3):
        if not story(at, ERRORS[at % len(ERRORS)]):
            assert at > 20
            return
    pytest.fail(f"more than {MOST} things happen")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("story", [_backup_with_a_fault, _restore_with_a_fault])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error()).__name__)
def test_every_fault_anywhere_ends_honestly(story: Story, error: Callable[[], Exception]) -> None:
    """Each thing that happens fails once in every way."""
    at = 1
    while story(at, error):
        at += 1
    assert at > 20
