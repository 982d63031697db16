"""An open disk, when the system below it does not do what it should, and where its size is unusual."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.images.cloud import ImagesCloud

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import VolumeId
from restead.drivers.disks.raw import DiskTarget
from restead.drivers.disks.rawio import Buffered, Direct, RawIo
from restead.drivers.disks.zeroes import zero_device, zero_file

DISK = VolumeId("disk-1")


class Failing:
    """A way to a disk on which every write and read ends with one error."""

    def __init__(self, number: int) -> None:
        self._error = OSError(number, os.strerror(number))

    def read(self, offset: int, view: memoryview) -> None:
        raise self._error

    def write(self, offset: int, view: memoryview) -> None:
        raise self._error


class Noted:
    """A way to a disk in memory."""

    def __init__(self, size: int) -> None:
        self.holds = bytearray(b"\xff" * size)

    def read(self, offset: int, view: memoryview) -> None:
        view[:] = self.holds[offset : offset + len(view)]

    def write(self, offset: int, view: memoryview) -> None:
        self.holds[offset : offset + len(view)] = view


@pytest.fixture
def without_holes() -> Iterator[int]:
    """A descriptor on which holes cannot be punched: a file of /proc."""
    fd = os.open("/proc/self/comm", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def unflushable() -> Iterator[int]:
    """A descriptor whose fsync fails: a pipe."""
    reader, writer = os.pipe()
    yield writer
    os.close(reader)
    os.close(writer)


def target(fd: int, raw: RawIo) -> DiskTarget:
    return DiskTarget(DISK, fd, raw, MIB, is_device=False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_names_the_disk_and_the_place(without_holes: int, number: int) -> None:
    disk = target(without_holes, Failing(number))
    for deed, do in (
        ("write", lambda: disk.write_at(8192, bytes(4096))),
        ("zeroing", lambda: disk.zero_at(8192, 4096)),
        ("read", lambda: disk.read_into(8192, memoryview(bytearray(4096)))),
    ):
        with pytest.raises(Unavailable) as raised:
            do()
        assert raised.value.message == f"disk disk-1: {deed} of 4096 bytes at 8192: {os.strerror(number)}"


def test_after_a_failed_flush_nothing_is_believed_any_more(unflushable: int) -> None:
    disk = target(unflushable, Noted(MIB))
    disk.write_at(0, b"x")
    for do in (
        disk.flush, disk.flush, lambda: disk.write_at(0, b"y"), lambda: disk.zero_at(0, 1),
        lambda: disk.read_into(0, memoryview(bytearray(1))), lambda: list(disk.extents(0, 1)),
    ):  # fmt: skip
        with pytest.raises(Unavailable, match="what it holds is unknown"):
            do()


def test_zeroes_are_written_where_there_can_be_no_holes(without_holes: int) -> None:
    raw = Noted(3 * MIB)
    zero_file(without_holes, raw, 100, 2 * MIB)
    assert raw.holds == b"\xff" * 100 + bytes(2 * MIB) + b"\xff" * (MIB - 100)


def test_what_is_no_device_is_not_zeroed_as_one(without_holes: int) -> None:
    with pytest.raises(OSError, match="ioctl"):
        zero_device(without_holes, Noted(MIB), 0, 4096)


def test_zeroing_gives_space_back(images: ImagesCloud) -> None:
    server = images.make([4 * MIB])
    with target_of(images, server) as disk:
        disk.write_at(0, os.urandom(4 * MIB))
        disk.flush()
        full = images.path_of(server).stat().st_blocks
        disk.zero_at(0, 3 * MIB)
        disk.flush()
    assert (full * 512, images.path_of(server).stat().st_blocks * 512) == (4 * MIB, MIB)


def test_a_huge_sparse_disk_is_quick_to_look_through(images: ImagesCloud) -> None:
    size = 1 << 40
    server = images.make([size])
    with images.path_of(server).open("r+b") as file:
        os.pwrite(file.fileno(), b"a" * 4096, size // 2)
    with source_of(images, server) as source:
        assert list(source.extents(0, size)) == [
            Extent(0, size // 2, data=False), Extent(size // 2, 4096, data=True),
            Extent(size // 2 + 4096, size // 2 - 4096, data=False),
        ]  # fmt: skip
        assert list(source.extents(size // 2 + 1, 100)) == [Extent(size // 2 + 1, 100, data=True)]
        assert list(source.extents(size, 0)) == []


def test_a_disk_whose_size_is_no_multiple_of_a_page_is_written_to_its_last_byte(images: ImagesCloud) -> None:
    size = MIB + 3 * 512
    server = images.make([size])
    data = os.urandom(size)
    with target_of(images, server) as disk:
        disk.write_at(0, data)
        disk.flush()
        assert read(disk) == data
    assert images.path_of(server).read_bytes() == data


def test_pieces_that_are_not_aligned_do_not_touch_their_neighbours(tmp_path: Path) -> None:
    """Past the page cache a page that is written in part is read, changed and written back."""
    path, model = tmp_path / "disk.raw", bytearray(os.urandom(4 * MIB))
    path.write_bytes(model)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        raw = Direct(fd)
        for offset, length in ((1, 1), (4095, 2), (4096, 4096), (5000, 3 * MIB), (4 * MIB - 1, 1), (8191, 4098)):
            data = os.urandom(length)
            raw.write(offset, memoryview(data))
            model[offset : offset + length] = data
            found = bytearray(length)
            raw.read(offset, memoryview(found))
            assert found == data
    finally:
        os.close(fd)
    assert path.read_bytes() == model


def test_a_read_beyond_the_end_of_a_file_is_no_short_success(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(8192))
    for flags, kind in ((os.O_RDONLY, Buffered), (os.O_RDONLY | os.O_DIRECT, Direct)):
        fd = os.open(path, flags)
        try:
            with pytest.raises(EOFError, match="ends at 8192"):
                kind(fd).read(4096, memoryview(bytearray(8192)))
        finally:
            os.close(fd)
