"""What a restore does on a disk that cannot keep space by itself."""

import random
from collections.abc import Iterator

import pytest

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.ports import Buffer, KeepsSpace
from restead.workflows.target import WatchedTarget

MIB = 1 << 20
CLUSTER = 64 << 10


class PlainDisk:
    """A disk of clusters that are allocated when they are written, and given back when they are zeroed as a whole."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.allocated: set[int] = set()
        self.room = size  # bytes that may be allocated

    @property
    def size(self) -> int:
        return len(self.content)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[offset : offset + len(buffer)]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        at, end = offset, offset + length
        while at < end:
            stop = min(end, (at // CLUSTER + 1) * CLUSTER)
            yield Extent(at, stop - at, data=at // CLUSTER in self.allocated)
            at = stop

    def write_at(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        clusters = set(range(offset // CLUSTER, -(-(offset + len(view)) // CLUSTER)))
        if len(self.allocated | clusters) * CLUSTER > self.room:
            raise Unavailable("no space left")
        self.allocated |= clusters
        self.content[offset : offset + len(view)] = view

    def zero_at(self, offset: int, length: int) -> None:
        self.content[offset : offset + length] = bytes(length)
        self.allocated -= set(range(-(-offset // CLUSTER), (offset + length) // CLUSTER))

    def flush(self) -> None:
        return


def watched(disk: PlainDisk) -> WatchedTarget:
    return WatchedTarget(disk, check=lambda: None, first=lambda: None, spend=lambda _: None)


def test_what_was_blanked_can_be_written_again_without_new_space() -> None:
    """And a hole that is blanked takes none, also on a disk that is full."""
    disk, data = PlainDisk(8 * MIB), random.Random(1).randbytes(3 * MIB)
    disk.write_at(MIB, data)
    disk.room = len(disk.allocated) * CLUSTER
    assert not isinstance(disk, KeepsSpace)
    target = watched(disk)
    target.blank_at(0, disk.size)
    assert disk.content == bytes(disk.size)
    assert len(disk.allocated) * CLUSTER == disk.room
    target.write_at(MIB, data)
    assert disk.content[MIB : 4 * MIB] == data


def test_the_space_of_what_is_zero_is_given_back_in_the_end() -> None:
    disk = PlainDisk(8 * MIB)
    target = watched(disk)
    target.write_at(MIB, b"\1" * 3 * MIB)
    target.blank_at(MIB, 2 * MIB)
    target.reserve(5 * MIB, MIB)
    target.punch(MIB, 2 * MIB)
    target.punch(5 * MIB, MIB)
    assert disk.allocated == set(range(3 * MIB // CLUSTER, 4 * MIB // CLUSTER))
    assert disk.content[3 * MIB : 4 * MIB] == b"\1" * MIB


def test_the_space_of_what_is_not_zero_is_kept() -> None:
    disk = PlainDisk(4 * MIB)
    target = watched(disk)
    target.write_at(2 * MIB - 1, b"x")
    with pytest.raises(Unavailable, match="not zero"):
        target.punch(0, 4 * MIB)
    assert disk.content[2 * MIB - 1 : 2 * MIB] == b"x"
