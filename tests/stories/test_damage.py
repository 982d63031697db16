"""Whatever happens to what is stored, a restore gives the backed-up bytes or fails, says so, and starts nothing."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.house import PROJECT, House

from restead.domain.backup import Backup
from restead.domain.errors import ResteadError
from restead.domain.restore import Restore
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestoreState, VolumeOutcome

SIZES = (32 * 1024, 16 * 1024)
Harm = Callable[[House, str, random.Random], None]


def _flip(house: House, name: str, chance: random.Random) -> None:
    data = bytearray(house.store.get(name))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    _replace(house, name, bytes(data))


def _truncate(house: House, name: str, chance: random.Random) -> None:
    data = house.store.get(name)
    _replace(house, name, data[: chance.randrange(len(data) or 1)])


def _remove(house: House, name: str, chance: random.Random) -> None:
    house.store.delete(name)


def _swap(house: House, name: str, chance: random.Random) -> None:
    kind = name.split("/")[0]
    others = [other for other, _ in house.store.list(kind) if other != name]
    if others:
        other = chance.choice(others)
        one, two = house.store.get(name), house.store.get(other)
        _replace(house, name, two)
        _replace(house, other, one)


def _replace(house: House, name: str, data: bytes) -> None:
    house.store.delete(name)
    house.store.put(name, data)


def _backed_up(house: House) -> tuple[Server, Backup, list[bytes]]:
    server = house.server(SIZES)
    house.protect(server)
    house.scribble(server, 2)
    backup = house.protect(server)
    wanted = house.disks(server)
    house.scribble(server, 3)
    return server, backup, wanted


def _try_restore(house: House, backup: Backup) -> Restore | None:
    """Start anew on what is stored and restore; None if the repository does not even open."""
    house.close()
    try:
        house.open()
    except ResteadError:
        return None
    return house.restore(backup, power_on=True)


@pytest.mark.parametrize("harm", [_flip, _truncate, _remove, _swap])
@pytest.mark.parametrize("kind", ["packs", "index", "log", "keyring"])
def test_a_restore_gives_the_right_bytes_or_fails_loudly(house: House, kind: str, harm: Harm) -> None:
    """Each stored object is harmed in turn; a restore never ends as success with other bytes."""
    server, backup, wanted = _backed_up(house)
    objects = {name: house.store.get(name) for name, _ in house.store.list("")}
    failures = 0
    for seed, name in enumerate(sorted(name for name in objects if name.startswith(kind + "/"))):
        harm(house, name, random.Random(seed))
        started = list(house.cloud.log)
        restore = _try_restore(house, backup)
        if restore is not None and restore.state is RestoreState.SUCCESS:
            assert house.disks(server) == wanted
            house.cloud.log.clear()
        else:
            failures += 1
            assert house.cloud.log == started
        _mend(house, objects)
        house.scribble(server, seed)
        _stop(house, server)
    if kind == "packs" and harm is _remove:  # one bit may lie where nothing is needed
        assert failures > 0


def _mend(house: House, objects: dict[str, bytes]) -> None:
    for name, _ in list(house.store.list("")):
        if name in objects:
            _replace(house, name, objects[name])
    for name in objects:
        house.store.put(name, objects[name])


def _stop(house: House, server: Server) -> None:
    house.close()
    house.open()
    house.cloud.put(replace(server, status=ServerStatus.STOPPED))


def _harmed_packs(house: House, harm: Harm) -> list[str]:
    names = [name for name, _ in house.store.list("packs/")]
    for seed, name in enumerate(names):
        chance = random.Random(seed)
        for _ in range(10):  # so that something which is needed is hit, wherever it lies
            harm(house, name, chance)
    return names


@pytest.mark.parametrize("harm", [_flip, _truncate, _remove])
def test_damaged_packs_are_named_and_the_server_is_not_started(house: House, harm: Harm) -> None:
    """The restore fails, names a stored object, and the backup stays what it is."""
    _, backup, _ = _backed_up(house)
    names = _harmed_packs(house, harm)
    restore = house.restore(backup, power_on=True)
    assert restore.state is RestoreState.FAIL
    assert restore.failure is not None
    assert any(name in restore.failure.message for name in names)
    assert house.cloud.log == []
    after = house.backup(backup.id)
    assert (after.state, after.failed_operation, after.failure) == (
        BackupState.AVAILABLE, "restore", restore.failure,
    )  # fmt: skip


@pytest.mark.parametrize("blank", [True, False])
def test_damage_in_the_middle_names_the_lost_bytes_of_the_disk(house: House, blank: bool) -> None:
    """It is found before anything is overwritten; on a disk of zeroes, where nothing can be lost, while writing."""
    size = 9 << 20  # five units of work: those before the damaged one are written
    server = house.server((size,))
    house.cloud.fill(server.volumes[0].id, random.Random(5).randbytes(size))
    backup = house.protect(server)
    before = bytes(size) if blank else random.Random(6).randbytes(size)
    house.cloud.fill(server.volumes[0].id, before)
    length, name = max((length, name) for name, length in house.store.list("packs/"))
    data = bytearray(house.store.get(name))
    data[length * 9 // 10] ^= 1
    _replace(house, name, bytes(data))
    house.cloud.start(PROJECT, server.id)
    restore = house.restore(backup)
    (volume,) = restore.volumes
    assert restore.state is RestoreState.FAIL
    assert volume.outcome is (VolumeOutcome.PUT_BACK if blank else VolumeOutcome.UNTOUCHED)
    assert volume.ranges == ()
    assert "bytes " in volume.reason
    assert str(backup.volumes[0].id) in volume.reason
    assert house.disks(server)[0] == before
    assert house.cloud.server(PROJECT, server.id).status is ServerStatus.RUNNING


def test_an_untouched_server_gets_its_power_back(house: House) -> None:
    """When nothing was written yet, a server that ran runs again: its disks are what they were."""
    server, backup, _ = _backed_up(house)
    before = house.disks(server)
    for name, _ in list(house.store.list("packs/")):
        house.store.delete(name)
    house.cloud.start(PROJECT, server.id)
    restore = house.restore(backup)
    assert restore.state is RestoreState.FAIL
    assert {volume.outcome for volume in restore.volumes} == {VolumeOutcome.UNTOUCHED}
    assert house.disks(server) == before
    assert house.cloud.log == [f"start {server.id}", f"stop {server.id}", f"start {server.id}"]
    assert restore.server_reason == ""
