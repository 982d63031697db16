"""What must be true of a restore that has ended, however it did: it says nothing that is not so."""

from collections.abc import Sequence

from tests.house import PROJECT, House

from restead.domain.restore import Restore
from restead.domain.server import Server, ServerStatus
from restead.domain.states import BackupState, RestoreState, VolumeOutcome

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
