"""Restores from a damaged repository: refused as a whole, or, if that is asked for, all but what is lost."""

import random
from collections.abc import Sequence

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.repository.harm import flip, some_things, spoil, things
from tests.stories.honesty import nothing_is_left
from tests.stories.test_restore_power_cut import Scene, scene

from restead.domain.backup import Backup
from restead.domain.errors import Damaged, Unavailable
from restead.domain.listing import RestoreFilter, Window
from restead.domain.restore import Restore
from restead.domain.server import Server
from restead.domain.states import RestoreState, VolumeOutcome
from restead.records import known
from restead.repository.ranges import total
from restead.repository.seal import Kind

SIZE = 96 * 1024


def damaged(house: House, seed: int = 1, *, chunks: int = 3) -> tuple[Server, Backup, bytes]:
    """Back a server of one disk up, lose some chunks of it, and write over its disk."""
    server = house.server((SIZE,))
    luck = random.Random(seed)
    house.cloud.fill(server.volumes[0].id, luck.randbytes(SIZE))
    backup, wanted = house.protect(server), house.disks(server)[0]
    house.cloud.fill(server.volumes[0].id, luck.randbytes(SIZE))
    manifest = backup.volumes[0].manifest
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, luck, chunks=chunks, pages=0))
    return server, backup, wanted


def with_zeroes(data: bytes, lost: Sequence[tuple[int, int]]) -> bytes:
    found = bytearray(data)
    for offset, length in lost:
        found[offset : offset + length] = bytes(length)
    return bytes(found)


@pytest.mark.parametrize("extensions", [{}, {"safety": False}, {"verify": "readback"}])
def test_a_salvage_restores_all_but_what_is_lost(house: House, extensions: dict[str, bool | str]) -> None:
    server, backup, wanted = damaged(house)
    before = house.disks(server)[0]
    refused = house.restore(backup, **extensions)
    assert refused.state is RestoreState.FAIL
    assert house.disks(server)[0] == before
    restore = house.restore(backup, salvage=True, **extensions)
    (volume,) = restore.volumes
    assert (restore.state, volume.outcome, restore.failure) == (RestoreState.SUCCESS, VolumeOutcome.RESTORED, None)
    assert total(volume.ranges) == 3 * 4096
    assert house.disks(server)[0] == with_zeroes(wanted, volume.ranges)
    assert f"{3 * 4096} bytes of disk backup {volume.volume_backup_id} were lost" in volume.reason
    assert restore.stats.verified == SIZE - 3 * 4096
    nothing_is_left(house)
    _nothing_false_is_known(house, server, backup, [wanted])
    if extensions.get("safety", True):
        assert house.undo(restore).state is RestoreState.SUCCESS
        assert house.disks(server)[0] == before


def test_a_salvage_of_a_whole_backup_loses_nothing(house: House) -> None:
    server, backup, wanted = damaged(house, chunks=0)
    restore = house.restore(backup, salvage=True)
    assert (restore.state, restore.volumes[0].ranges) == (RestoreState.SUCCESS, ())
    assert restore.volumes[0].reason == ""
    assert house.disks(server)[0] == wanted


def test_a_salvage_onto_zeroes_decides_before_it_writes(house: House) -> None:
    server, backup, wanted = damaged(house)
    house.cloud.fill(server.volumes[0].id, bytes(SIZE))
    restore = house.restore(backup, salvage=True)
    assert restore.state is RestoreState.SUCCESS
    assert house.disks(server)[0] == with_zeroes(wanted, restore.volumes[0].ranges)
    assert restore.volumes[0].ranges


def test_damage_on_the_target_is_no_salvage(house: House) -> None:
    """Only what is lost in the repository is given up: a disk that does not hold what was written is a failure."""
    server, backup, _ = damaged(house)
    before = house.disks(server)[0]
    flushes: list[str] = []

    def rot(what: str) -> None:
        if what == "cloud: flush":
            flushes.append(what)
            if len(flushes) == 1:
                house.cloud.rot(server.volumes[0].id, 50_000)

    house.power.fault = rot
    restore = house.restore(backup, salvage=True, verify="readback")
    assert restore.state is RestoreState.FAIL
    assert restore.volumes[0].outcome is VolumeOutcome.PUT_BACK
    assert restore.volumes[0].ranges == ()
    assert house.disks(server)[0] == before


def test_a_safety_copy_does_not_count_on_what_is_lost(house: House) -> None:
    """The disk holds, elsewhere, a chunk that is lost in the repository: it is stored again, and can be put back."""
    server = house.server((SIZE,))
    disk, luck = server.volumes[0].id, random.Random(5)
    data = luck.randbytes(SIZE)
    house.cloud.fill(disk, data)
    backup = house.protect(server)
    name = {thing.name for _, thing in things(house.repository) if thing.kind is Kind.CHUNK and thing.plain == 4096}
    spoil(house.repository, house.store, {min(name)})
    lost = house.restore(backup, salvage=True).volumes[0].ranges
    assert lost == (), "the disk holds all of it"
    moved = data[4096:] + data[:4096]
    house.cloud.fill(disk, moved)
    house.power.fault = _second_flush_fails()
    restore = house.restore(backup, salvage=True)
    assert restore.volumes[0].outcome is VolumeOutcome.PUT_BACK
    assert house.disks(server)[0] == moved


def _second_flush_fails():  # type: ignore[no-untyped-def]
    seen: list[str] = []

    def fault(what: str) -> None:
        seen.extend([what] * (what == "cloud: flush"))
        if what == "cloud: flush" and len(seen) == 1:
            raise Unavailable("the disk is dying")

    return fault


def test_a_power_cut_at_any_point_changes_no_range(house: House) -> None:
    """What is given up is durable before the first write: whatever happens then, the same is told and is zero."""
    with scene() as made:
        _lose(made)
        made.saved = made.house.save()
        made.house.restore(made.backup, salvage=True)
        told = _ranges(made, _newest(made))
        assert any(told)
        wanted = [with_zeroes(data, lost) for data, lost in zip(made.wanted, told, strict=True)]
        for cut_at in range(1, 1000, 3):
            made.house.rewind(made.saved)
            made.house.cut_power_at(cut_at)
            try:
                made.house.restore(made.backup, salvage=True)
            except PowerCut:
                pass
            else:
                assert cut_at > 30
                break
            made.house.crash_and_restart(cut_at if cut_at % 2 else None)
            made.house.drain()
            _is_salvaged(made, _newest(made), wanted, told)
        else:
            pytest.fail("the power was never left on")


def _lose(made: Scene) -> None:
    house, luck = made.house, random.Random(4)
    manifest = made.backup.volumes[0].manifest
    assert manifest is not None
    spoil(house.repository, house.store, some_things(house.repository, manifest, luck, chunks=4, pages=0))


def _newest(made: Scene) -> Restore | None:
    found = made.house.service.restores.list(made.house.caller, PROJECT, RestoreFilter(), Window()).items
    return found[0] if found else None


def _ranges(made: Scene, restore: Restore | None) -> list[tuple[tuple[int, int], ...]]:
    assert restore is not None
    assert restore.state is RestoreState.SUCCESS, restore.failure
    return [volume.ranges for volume in restore.volumes]


def _is_salvaged(
    made: Scene, restore: Restore | None, wanted: list[bytes], told: list[tuple[tuple[int, int], ...]]
) -> None:
    if restore is None:  # the power went before it was accepted
        assert made.house.disks(made.server) == made.before
        return
    assert _ranges(made, restore) == told
    assert made.house.disks(made.server) == wanted
    nothing_is_left(made.house)
    _nothing_false_is_known(made.house, made.server, made.backup, made.wanted)


def _nothing_false_is_known(house: House, server: Server, backup: Backup, wanted: Sequence[bytes]) -> None:
    """Where the disk is said to hold the damaged backup without being read, it does: holes are no part of that."""
    for volume, target, data in zip(backup.volumes, server.volumes, wanted, strict=True):
        with house.records.read() as tx:
            found = known.known(tx, PROJECT, target.id)
        changed = None if found is None else house.cloud.disk_of(target.id).changed_since(found.generation)
        if found is not None and found.manifest == volume.manifest and changed is not None:
            now, then = bytearray(house.cloud.bytes_of(target.id)), bytearray(data)
            for offset, length in changed:
                now[offset : offset + length] = then[offset : offset + length] = bytes(length)
            assert now == then, "a disk with holes is said to hold the backup"


def test_a_later_backup_heals_the_older_one(house: House) -> None:
    """A pack is damaged and noticed; the server, which still holds the bytes, is backed up again: the old backup is
    whole again, bit for bit."""
    server = house.server((SIZE,))
    backup, wanted = house.protect(server), house.disks(server)
    for pack, thing in things(house.repository):
        if thing.kind is Kind.CHUNK:
            flip(house.store, pack, thing.offset + 3)
    manifest = backup.volumes[0].manifest
    assert manifest is not None
    with house.repository.session(PROJECT, label="look", reads=[manifest]) as session, pytest.raises(Damaged):
        session.verify(manifest)
    house.protect(server)
    house.scribble(server, 9)
    restore = house.restore(backup)
    assert restore.state is RestoreState.SUCCESS, restore.failure
    assert house.disks(server) == wanted


def test_a_backup_whose_root_is_lost_is_no_parent(house: House) -> None:
    server = house.server((SIZE,))
    house.protect(server)
    for pack, thing in things(house.repository):
        if thing.kind is Kind.ROOT:
            flip(house.store, pack, thing.offset + 3)
    backup, wanted = house.protect(server), house.disks(server)
    assert backup.volumes[0].incremental is False
    house.scribble(server, 9)
    assert house.restore(backup).state is RestoreState.SUCCESS
    assert house.disks(server) == wanted
