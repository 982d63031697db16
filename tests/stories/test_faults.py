"""Every call to the cloud, the store and the records fails once: each story ends, and ends honestly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.house import House

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.states import BackupState
from restead.records import RecordsUnavailable

SIZES = (12 * 1024, 4096)
MOST = 400
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
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


@pytest.mark.parametrize("share", range(3))
def test_a_backup_with_a_fault_anywhere_ends_honestly(share: int) -> None:
    """Each thing that happens fails once, in one way after the other."""
    for at in range(1 + share, MOST, 3):
        if not _backup_with_a_fault(at, ERRORS[at % len(ERRORS)]):
            assert at > 20
            return
    pytest.fail(f"more than {MOST} things happen")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error()).__name__)
def test_a_backup_with_every_fault_anywhere_ends_honestly(error: Callable[[], Exception]) -> None:
    """Each thing that happens fails once in every way."""
    at = 1
    while _backup_with_a_fault(at, error):
        at += 1
    assert at > 20
