"""What a disk held last, and where it was written since, spares a restore the reading; hashes still decide."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.stories.honesty import hints_are_true

from restead.domain.backup import Backup
from restead.domain.errors import Unavailable
from restead.domain.known import KnownDisk
from restead.domain.restore import Restore
from restead.domain.server import Server
from restead.domain.states import RestoreState
from restead.records import known

SIZES = (64 * 1024, 32 * 1024)


class Reads:
    """Counts the reads of disks while a house works."""

    def __init__(self, house: House) -> None:
        self.count = 0
        house.power.fault = self._note

    def _note(self, what: str) -> None:
        self.count += what == "cloud: read"

    def during(self, do: Callable[[], Restore]) -> tuple[int, Restore]:
        before = self.count
        restore = do()
        return self.count - before, restore


def _full_server(house: House) -> Server:
    """Return a server without a byte of zero: a hole would not be read either."""
    server = house.server(SIZES)
    _fill(house, server, seed=1)
    return server


def _fill(house: House, server: Server, seed: int) -> None:
    for volume in server.volumes:
        house.cloud.fill(volume.id, random.Random(f"{seed} {volume.id}").randbytes(volume.size))


def _changed(house: House, server: Server) -> list[bytes]:
    house.cloud.fill(server.volumes[0].id, b"an unwanted change", 9000)
    return house.disks(server)


def test_only_what_was_written_since_the_backup_is_read(house: House) -> None:
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    before, reads = _changed(house, server), Reads(house)
    count, restore = reads.during(lambda: house.restore(backup))
    assert (restore.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
    assert count == 2  # one chunk: named, and compared with what is wanted when it is written
    assert restore.stats.written == 4096
    count, undone = reads.during(lambda: house.undo(restore))
    assert (undone.state, house.disks(server)) == (RestoreState.SUCCESS, before)
    assert count == 1  # what the restore left is known, and nobody has written since


def test_a_backup_of_what_is_known_says_how_fast_it_read_and_not_how_large_the_disk_is(house: House) -> None:
    server = _full_server(house)
    house.protect(server)
    house.cloud.fill(server.volumes[0].id, b"a change", 9000)
    changed, same = house.protect(server).volumes
    assert 0 < changed.read < changed.size
    assert (same.read, same.bytes_per_second) == (0, 0)


def test_without_it_all_is_read_and_the_same_is_done(house: House) -> None:
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    _changed(house, server)
    house.cloud.tracks = False
    count, restore = Reads(house).during(lambda: house.restore(backup))
    assert (restore.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
    assert count > 2
    assert restore.stats.written == 4096


def test_readback_reads_all_whatever_is_known(house: House) -> None:
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    _changed(house, server)
    rereads: list[str] = []
    house.power.fault = lambda what: rereads.append(what) if what == "cloud: reread" else None
    restore = house.restore(backup, verify="readback")
    assert (restore.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
    assert rereads


def _delete(house: House, then: Backup) -> None:
    house.service.checkpoints.delete(house.caller, PROJECT, then.checkpoint_id, None)
    house.drain()


def _another_history(house: House, then: Backup) -> None:
    """The id of what is known is another manifest's now: as after an older repository was put in place."""
    for volume in then.volumes:
        with house.records.begin() as tx:
            found = known.known(tx, PROJECT, volume.volume_id)
            assert found is not None
            known.note(tx, PROJECT, volume.volume_id, KnownDisk(found.manifest, "00" * 32, found.generation))


def _in_doubt(house: House, then: Backup) -> None:
    """The last restore has left the first disk damaged: memory is not believed, so neither is what is known."""

    def dying(what: str) -> None:
        if what == "cloud: flush":
            raise Unavailable("the disk is dying")

    house.power.fault = dying
    assert house.restore(then).state is RestoreState.FAIL
    house.power.fault = lambda what: None


@pytest.mark.parametrize("spoil", [_delete, _another_history, _in_doubt], ids=lambda spoil: spoil.__name__)
def test_what_is_not_to_be_relied_on_is_not_used(house: House, spoil: Callable[[House, Backup], None]) -> None:
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    then = house.protect(server)
    _changed(house, server)
    spoil(house, then)
    count, restore = Reads(house).during(lambda: house.restore(backup))
    assert (restore.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
    assert count != 2


def test_damage_in_what_would_only_have_spared_reading_fails_no_restore(house: House) -> None:
    """The pages of what the disk held last are lost; those of the backup are not."""
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    packs = set(house.store.list("packs/"))
    house.scribble(server, seed=3)
    house.protect(server)
    for name, _ in set(house.store.list("packs/")) - packs:
        house.store.delete(name)
    _fill(house, server, seed=4)  # nothing that the safety copy needs is lost
    before = house.disks(server)
    restore = house.restore(backup)
    assert (restore.failure, restore.state, house.disks(server)) == (None, RestoreState.SUCCESS, wanted)
    assert (house.undo(restore).state, house.disks(server)) == (RestoreState.SUCCESS, before)


def test_what_was_written_between_two_lives_of_a_restore_is_not_taken_for_known(house: House) -> None:
    """The disks are decided, the service ends, and before it is back somebody writes to one of them."""
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    _changed(house, server)
    house.power.fault = lambda what: house.cut_power_at(1) if what == "cloud: start" else None
    with pytest.raises(PowerCut):
        house.restore(backup, power_on=True)
    house.crash_and_restart()
    house.cloud.fill(server.volumes[0].id, b"written in between", 20000)
    house.drain()
    hints_are_true(house)
    house.cloud.stop(PROJECT, server.id, grace=timedelta(0))
    again = house.restore(backup)
    assert (again.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)


def test_what_somebody_else_writes_during_a_restore_is_not_taken_for_known(house: House) -> None:
    """It goes unseen behind the place that is just being written, and the next restore has to find it."""
    server = _full_server(house)
    wanted, backup = house.disks(server), house.protect(server)
    _changed(house, server)
    flushes: list[str] = []

    def write_once(what: str) -> None:
        if what == "cloud: flush" and not flushes:
            flushes.append(what)
            house.cloud.fill(server.volumes[0].id, b"written meanwhile", 20000)

    house.power.fault = write_once
    house.restore(backup)
    assert flushes
    assert house.disks(server) != wanted
    hints_are_true(house)
    again = house.restore(backup)
    assert (again.state, house.disks(server)) == (RestoreState.SUCCESS, wanted)
