"""Rows of restores: what a later restore asks of them."""

from dataclasses import replace

import pytest
from tests.records.rows import Clock, P, add_backup, add_restore, server

from restead.domain.ids import RestoreId, VolumeId
from restead.domain.server import Volume
from restead.domain.states import Event
from restead.records import Records, restores

_UUID = "ee27f809-6fb5-40ae-ac46-c932bb4ee8fe"


def _end(records: Records, id: str, disk: str, *, damaged: bool) -> None:
    """Let a restore of that one disk end."""
    with records.begin() as tx:
        on = server("s", disks=0, volumes=(Volume(VolumeId(disk), "data", 1000, bootable=True),))
        add_restore(tx, id, add_backup(tx, f"backup-{id}", on))
        restores.move_volume(tx, RestoreId(id), 0, Event.BEGIN)
        event = Event.FAILED if damaged else Event.RESTORED
        restores.move_volume(tx, RestoreId(id), 0, event)
        restores.move(tx, RestoreId(id), event, lambda row: replace(row, finished_at=tx.now))


def _in_doubt(records: Records, disk: str) -> bool:
    with records.read() as tx:
        return restores.in_doubt(tx, P, VolumeId(disk))


@pytest.mark.parametrize(
    ("damaged", "asked", "expected"),
    [
        (_UUID.upper(), _UUID, True),
        (_UUID, _UUID.upper(), True),
        ("Disk-A", "Disk-A", True),
        ("Disk-A", "disk-a", False),  # no UUIDs: another disk
        ("Große-ÄB-İ", "Große-ÄB-İ", True),  # databases fold less of it than Python does
        ("ÄB", "äb", False),
    ],
)
def test_a_disk_in_doubt_is_known_by_the_rule_of_all_ids(
    records: Records, damaged: str, asked: str, expected: bool
) -> None:
    """The same text, or the same UUID in whatever case; on each database."""
    _end(records, "r", damaged, damaged=True)
    assert _in_doubt(records, asked) is expected


def test_the_last_restore_of_a_disk_decides_whether_it_is_in_doubt(records: Records, clock: Clock) -> None:
    """Those of other disks that came later say nothing of it, though their ids differ in case alone."""
    for number, (disk, damaged) in enumerate([(_UUID, True), ("Disk", True), ("disk", False), (_UUID.upper(), False)]):
        _end(records, f"r{number}", disk, damaged=damaged)
        clock.forward(1)
        assert [_in_doubt(records, each) for each in (_UUID, "Disk", "disk")] == [number < 3, number > 0, False]


def test_a_disk_is_not_in_doubt_before_its_restore_has_ended(records: Records) -> None:
    with records.begin() as tx:
        add_restore(tx, "r", made := add_backup(tx, "b"))
        restores.move_volume(tx, RestoreId("r"), 0, Event.BEGIN)
        restores.move_volume(tx, RestoreId("r"), 0, Event.FAILED)
    assert not _in_doubt(records, made.volumes[0].volume_id)
