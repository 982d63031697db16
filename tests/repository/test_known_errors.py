"""Three errors that well-known tools make, each a history of its own; and their relatives."""

import random
from pathlib import Path

import pytest
from tests.fakes.disks import FileDisk, MemoryDisk
from tests.repository.house import House

from restead.domain.errors import InvalidRequest

SIZE = 1_000_000
DATA = random.Random(3).randbytes(SIZE)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("written", [True, False], ids=["zeroes written", "trimmed"])
def test_data_that_became_zero_between_increments_is_zero_after_a_restore(house: House, written: bool) -> None:
    """Data, then zeroes, then an increment, restored to a new disk: the old data must not come back."""
    disk = MemoryDisk.of(DATA)
    full = house.save(disk)
    if written:
        disk.write_at(100_000, bytes(500_000))
    else:
        disk.zero_at(100_000, 500_000)
    increment = house.save(disk, full)
    target = MemoryDisk(SIZE)
    house.restore(increment, target)
    assert DATA[:100_000] + bytes(500_000) + DATA[600_000:] == target.data


def test_extents_trimmed_between_increments_are_zero_on_a_file_that_holds_the_older_data(
    house: House, tmp_path: Path
) -> None:
    """The target still holds what was trimmed: it must be cleared, not skipped as a hole of the backup."""
    disk = FileDisk(tmp_path / "disk", SIZE)
    disk.write_at(0, DATA)
    full = house.save(disk)
    disk.zero_at(4096 * 10, 4096 * 100)
    increment = house.save(disk, full)
    target = FileDisk(tmp_path / "target", SIZE)
    target.write_at(0, DATA)
    house.restore(increment, target)
    assert DATA[: 4096 * 10] + bytes(4096 * 100) + DATA[4096 * 110 :] == target.data


@pytest.mark.parametrize("all_data", [True, False], ids=["block device", "file"])
def test_a_restore_onto_a_disk_with_other_data_leaves_nothing_of_it(house: House, all_data: bool) -> None:
    """Zeroes of the backup are zeroes on the target, and so is what lies behind the backup's end."""
    sparse = MemoryDisk(SIZE)
    sparse.write_at(333_333, b"the only data")
    backup = house.save(sparse)
    target = MemoryDisk(SIZE + 77_777, all_data=all_data)
    target.write_at(0, random.Random(4).randbytes(target.size))
    house.restore(backup, target)
    assert sparse.data + bytes(77_777) == target.data
    assert target.flushed


def test_a_disk_that_shrank_and_grew_again_has_zeroes_where_it_was_cut(house: House) -> None:
    disk = MemoryDisk.of(DATA)
    full = house.save(disk)
    disk.resize(300_001)
    smaller = house.save(disk, full)
    disk.resize(SIZE)
    regrown = house.save(disk, smaller)
    target = MemoryDisk.of(DATA)
    house.restore(regrown, target)
    assert DATA[:300_001] + bytes(SIZE - 300_001) == target.data


def test_deleting_the_parent_harms_no_increment(house: House) -> None:
    disk = MemoryDisk.of(DATA)
    full = house.save(disk)
    disk.write_at(5000, b"changed")
    increment = house.save(disk, full)
    house.repository.delete([full])
    target = MemoryDisk(SIZE)
    house.restore(increment, target, repository=house.open())
    assert disk.data == target.data


def test_a_target_that_is_too_small_is_refused_before_a_byte_is_written(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    target = MemoryDisk(SIZE - 1)
    with pytest.raises(InvalidRequest, match=f"holds {SIZE - 1} bytes, the backup needs {SIZE}"):
        house.restore(backup, target)
    assert target.writes + target.zeroed == []


def test_extents_that_leave_something_out_are_not_taken_for_zeroes(house: House) -> None:
    """A driver that forgets a stretch must fail the backup: believed, its data would be lost silently."""

    class Forgetful(MemoryDisk):
        def extents(self, offset, length):  # type: ignore[no-untyped-def]
            return (extent for extent in super().extents(offset, length) if extent.offset)

    with pytest.raises(ValueError, match="1000000 expected"):
        house.save(Forgetful.of(DATA))
