"""Live backups in a whole house over a real QEMU: several at once, slowed down, and when what they need goes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.live import await_
from tests.house import PROJECT
from tests.lab.microguest import MIB
from tests.stories.libvirt_house import LibvirtHouse
from tests.stories.live_house import LiveHouse, is_a_moment, numbers

from restead.domain.backup import Backup
from restead.domain.errors import InvalidRequest
from restead.domain.ids import BackupId
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState

_LONG = pytest.param("libvirt", marks=pytest.mark.long)
on_both = pytest.mark.parametrize("house", ["images", "libvirt"], indirect=True)
on_both_long = pytest.mark.parametrize("house", ["images", _LONG], indirect=True)


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LiveHouse]:
    if request.param == "images":
        house = LiveHouse(tmp_path)
    else:
        pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")
        house = LibvirtHouse(tmp_path, devices="devices" in request.param)
    yield house
    house.close()


def ended(house: LiveHouse, id: BackupId) -> Backup:
    house.wait(lambda: house.backup(id).state is not BackupState.PROTECTING, 120)
    return house.backup(id)


def held_up_in_reading(house: LiveHouse, server: Server) -> Backup:
    """Begin a backup of a running server that reads next to nothing before it is let go."""
    house.service.servers.throttle(house.admin, PROJECT, None, 1)
    house.start()
    backup = house.protect(server, wait=False)
    house.wait(lambda: "reading" in house.story(backup.run_id), 120)
    return backup


def let_go(house: LiveHouse) -> None:
    house.service.servers.throttle(house.admin, PROJECT, None, None)


@on_both_long
def test_a_backup_says_how_long_the_guest_stood_still(house: LiveHouse) -> None:
    server = house.machine("W")
    assert house.protect(server).guest_pause_us is None
    house.start_machine(server)
    backup = house.protect(server)
    assert backup.guest_pause_us is not None
    assert 0 < backup.guest_pause_us < 60_000_000
    (reading,) = house.told(backup, "reading")
    assert reading["guest_pause_us"] == backup.guest_pause_us
    assert backup.consistency == "crash"


@on_both_long
def test_two_servers_are_backed_up_at_once_while_they_run(house: LiveHouse) -> None:
    servers, spare = [house.machine("W", name) for name in ("web-1", "web-2")], house.machine("H", "spare")
    for server in servers:
        house.start_machine(server)
    house.service.servers.throttle(house.admin, PROJECT, None, 1)
    house.start()
    begun = [house.protect(server, wait=False) for server in servers]
    house.wait(lambda: all("reading" in house.story(backup.run_id) for backup in begun), 120)
    let_go(house)
    for backup in begun:
        found = ended(house, backup.id)
        assert found.state is BackupState.AVAILABLE, found.failure
        assert is_a_moment(house.brought_back(found, spare))


@on_both
def test_a_backup_is_slowed_down_and_let_go_while_the_guest_writes(house: LiveHouse) -> None:
    """The moment is the one at its begin, however long the reading takes."""
    server, spare = house.machine("W"), house.machine("H", "spare")
    house.start_machine(server)
    backup = held_up_in_reading(house, server)
    path = Path(server.volumes[0].location)
    before = _sequence(path)
    await_(lambda: _sequence(path) > before + 20)
    assert house.backup(backup.id).state is BackupState.PROTECTING
    let_go(house)
    found = ended(house, backup.id)
    assert found.state is BackupState.AVAILABLE
    disks = house.brought_back(found, spare)
    assert is_a_moment(disks)
    assert numbers(disks)[1] <= before


@on_both_long
def test_a_qemu_killed_while_it_is_read_makes_no_wrong_backup(house: LiveHouse) -> None:
    """The run is tried again, and takes the stopped server then."""
    server, spare = house.machine("W"), house.machine("H", "spare")
    house.start_machine(server)
    backup = held_up_in_reading(house, server)
    house.kill_machine(server)
    await_(lambda: house.driver.server(PROJECT, server.id).status is ServerStatus.STOPPED)
    let_go(house)
    found = ended(house, backup.id)
    assert (found.state, found.consistency) == (BackupState.AVAILABLE, "offline")
    assert house.brought_back(found, spare) == house.held(server)


@on_both
def test_a_backup_that_wants_file_systems_at_rest_fails_without_an_agent(house: LiveHouse) -> None:
    """It does not pretend, and the guest is as it was."""
    server = house.machine("W")
    house.start_machine(server)
    backup = house.protect(server, consistency="filesystem")
    assert backup.state is BackupState.ERROR
    assert backup.failure is not None
    assert "could not be frozen" in backup.failure.message
    assert house.left_in(server) == []
    assert house.protect(server).state is BackupState.AVAILABLE


@pytest.mark.parametrize("house", ["libvirt devices"], indirect=True)
def test_block_devices_come_back_where_they_fit(house: LibvirtHouse) -> None:
    """Backed up while the server runs and while it is stopped; a smaller device is refused with both numbers, and of a
    larger one what lies behind is zeroed."""
    server, spare = house.machine("W"), house.machine("H", "spare")
    house.start_machine(server)
    live = house.protect(server)
    house.stop_machine(server)
    offline = house.protect(server)
    assert [backup.consistency for backup in (live, offline)] == ["crash", "offline"]
    target, size = Path(spare.volumes[1].location), spare.volumes[1].size
    assert target.is_block_device()
    house.machines.loops.resize(target, size - 512)
    with pytest.raises(InvalidRequest, match=f"holds {size - 512} bytes.* needs {size}"):
        house.restore(live, spare)
    house.machines.loops.resize(target, size + MIB)
    house.machines.overwrite(spare, spare.volumes[1].id, size, b"\xff" * MIB)
    for backup in (live, offline):
        system, data = house.brought_back(backup, spare)
        assert data[size:] == bytes(MIB)
        assert is_a_moment([system, data[:size]])
    assert [system, data[:size]] == house.held(server)


def _sequence(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(10 * 512)
        return int.from_bytes(file.read(4), "little")
