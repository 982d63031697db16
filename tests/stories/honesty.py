"""What must be true of a restore that has ended, however it did: it says nothing that is not so."""

from collections.abc import Sequence

from tests.fakes.disks import MemoryDisk
from tests.house import PROJECT, House

from restead.domain.ids import ManifestId
from restead.domain.restore import Restore
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestoreState, VolumeOutcome
from restead.records import known

_AS_BEFORE = (VolumeOutcome.PUT_BACK, VolumeOutcome.UNTOUCHED)


def is_honest(
    house: House,
    server: Server,
    restore: Restore,
    wanted: Sequence[bytes],
    before: Sequence[bytes],
    *,
    safe: bool = True,
) -> None:
    """Success means the backup on all disks; failure what was there on all of them, or ranges that are in doubt."""
    held = house.disks(server)
    outcomes = [volume.outcome for volume in restore.volumes]
    running = house.cloud.server(PROJECT, server.id).status is ServerStatus.RUNNING
    assert restore.state is not RestoreState.IN_PROGRESS
    if restore.state is RestoreState.SUCCESS:
        assert outcomes == [VolumeOutcome.RESTORED] * len(outcomes)
        assert held == list(wanted)
    else:
        assert restore.failure is not None
    if VolumeOutcome.DAMAGED in outcomes:
        assert not running, "a server whose disks are in doubt was started"
        assert restore.server_reason
    elif not safe and set(outcomes) == {VolumeOutcome.RESTORED, VolumeOutcome.UNTOUCHED}:
        assert not running, "a server was started on disks of two times"
        assert restore.server_reason
    else:
        assert len(set(outcomes) - {VolumeOutcome.UNTOUCHED, VolumeOutcome.PUT_BACK}) in (0, 1)
        assert held in (list(wanted), list(before)), "a mixture was handed back as good"
    for number, volume in enumerate(restore.volumes):
        if volume.outcome is VolumeOutcome.RESTORED:
            assert held[number] == wanted[number]
        elif volume.outcome in _AS_BEFORE:
            assert held[number] == before[number]
            assert volume.reason
        else:
            good, now = bytearray((before if safe else wanted)[number]), held[number]
            for offset, length in volume.ranges:
                good[offset : offset + length] = now[offset : offset + length]
            assert now == bytes(good), "bytes that are in doubt were not named"


def nothing_is_left(house: House, *, faults: bool = False) -> None:
    """No session is open or keeps anything, every manifest is a backup's, and nobody works on one.

    With *faults* in the store a manifest may be left that no row knows: garbage, which harms nobody.
    """
    assert dict(house.repository.log.refresh().sessions) == {}
    backups = house.all_backups()
    assert {backup.state for backup in backups} <= {BackupState.AVAILABLE, BackupState.ERROR}
    manifests = {volume.manifest for backup in backups for volume in backup.volumes if volume.manifest}
    there = {entry.id for entry in house.repository.manifests(PROJECT)}
    assert there >= manifests
    assert faults or there == manifests


def hints_are_true(house: House) -> None:
    """Where the rows say that a disk is known without being read, it holds just that."""
    there = {entry.id: entry for entry in house.repository.manifests(PROJECT)}
    for server in house.cloud.servers(PROJECT):
        for volume in server.volumes:
            with house.records.read() as tx:
                found = known.known(tx, PROJECT, volume.id)
            entry = None if found is None else there.get(found.manifest)
            if found is None or entry is None or entry.root.hex() != found.root:
                continue
            disk = house.cloud.disk_of(volume.id)
            changed = disk.changed_since(found.generation)
            if changed is not None:
                _assert_same_elsewhere(house, found.manifest, house.cloud.bytes_of(volume.id), changed)


def _assert_same_elsewhere(house: House, id: ManifestId, data: bytes, changed: Sequence[tuple[int, int]]) -> None:
    """Restore the manifest, and compare it with what the disk holds where it has not changed."""
    copy = MemoryDisk(len(data))
    with house.repository.session(PROJECT, label="test", reads=[id]) as session:
        session.restore(id, copy)
    known_to_be = bytearray(copy.data)
    for offset, length in changed:
        known_to_be[offset : offset + length] = data[offset : offset + length]
    assert data == bytes(known_to_be), "a disk that is known without being read holds something else"
