"""The space of what became zero is kept until a restore is decided, and given back then, whatever crashes."""

from tests.fakes.power import PowerCut
from tests.house import House
from tests.stories.test_restore_power_cut import MOST, scene

from restead.domain.backup import Backup
from restead.domain.errors import Unavailable
from restead.domain.server import Server
from restead.domain.states import RestoreState

PAGE = 4096
SIZE = 16 * PAGE


def _half_empty(house: House) -> tuple[Server, Backup]:
    """Return a server whose disk is full, and its backup, of which only the first half holds data."""
    server = house.cloud.add(house.caller.project_id, [SIZE])
    disk = server.volumes[0].id
    house.cloud.fill(disk, b"d" * (SIZE // 2))
    backup = house.protect(server)
    house.cloud.fill(disk, b"f" * SIZE)
    return server, backup


def test_a_restore_gives_back_the_space_of_zeroes_and_an_undo_takes_it_again(house: House) -> None:
    server, backup = _half_empty(house)
    disk = server.volumes[0].id
    restore = house.restore(backup)
    assert (restore.state, house.cloud.allocated(disk)) == (RestoreState.SUCCESS, SIZE // 2)
    undone = house.undo(restore)
    assert (undone.state, house.cloud.allocated(disk)) == (RestoreState.SUCCESS, SIZE)
    assert house.cloud.bytes_of(disk) == b"f" * SIZE


def test_until_it_is_decided_the_space_stays_so_that_putting_back_finds_it(house: House) -> None:
    """A flush fails when everything was written; meanwhile somebody else takes all the space there is."""
    server, backup = _half_empty(house)
    disk = server.volumes[0].id
    failed: list[int] = []

    def fault(what: str) -> None:
        if what == "cloud: flush" and not failed:
            failed.append(house.cloud.allocated(disk))
            house.cloud.space = 0
            raise Unavailable("the disk is dying")

    house.power.fault = fault
    restore = house.restore(backup)
    assert restore.state is RestoreState.FAIL
    assert (failed, house.cloud.bytes_of(disk)) == ([SIZE], b"f" * SIZE)


def test_what_was_a_hole_is_one_again_when_it_was_put_back(house: House) -> None:
    server = house.cloud.add(house.caller.project_id, [SIZE])
    disk = server.volumes[0].id
    house.cloud.fill(disk, b"d" * SIZE)
    backup = house.protect(server)
    with house.cloud.open_target(house.caller.project_id, server.id, disk) as target:
        target.zero_at(0, SIZE)
        target.flush()
    failed: list[str] = []

    def fault(what: str) -> None:
        if what == "cloud: flush" and not failed:
            failed.append(what)
            raise Unavailable("the disk is dying")

    house.power.fault = fault
    restore = house.restore(backup)
    assert restore.state is RestoreState.FAIL
    assert (house.cloud.bytes_of(disk), house.cloud.allocated(disk)) == (bytes(SIZE), 0)


def test_it_is_given_back_whenever_the_power_goes() -> None:
    """Also when it goes after the disks are decided: the next life does what this one did not come to."""
    with scene() as it:
        house = it.house
        disks = [volume.id for volume in it.server.volumes]
        house.restore(it.backup)
        least = [house.cloud.allocated(disk) for disk in disks]
        for cut_at in range(1, MOST):
            house.rewind(it.saved)
            house.cut_power_at(cut_at)
            try:
                house.restore(it.backup)
            except PowerCut:
                pass
            else:
                return
            house.crash_and_restart()
            house.drain()
            if house.disks(it.server) == it.wanted:
                assert [house.cloud.allocated(disk) for disk in disks] == least, f"cut at {cut_at}"
