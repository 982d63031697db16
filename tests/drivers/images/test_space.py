"""Space that is kept, reserved and given back on file systems that fill up, and bytes that memory hides."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB
from tests.conformance.space import reread, roomy_target_of
from tests.drivers.images.cloud import ImagesCloud

from restead.domain.errors import Unavailable
from restead.drivers.disks.space import blank, reserve_holes
from restead.drivers.images import ImagesOptions, Power
from restead.ports import BlockTarget


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
    """A descriptor on which nothing can be allocated or punched: a file of /proc."""
    fd = os.open("/proc/self/comm", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture(params=["tmpfs", "ext4"])
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 12 MiB; what its medium holds stands in the file `medium` beside it (ext4 only)."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "ext4":
        medium = tmp_path / "medium"
        medium.touch()
        os.truncate(medium, 12 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m0", "-O", "^has_journal", str(medium)], check=True)
        command = ["mount", "-o", "loop", str(medium), str(folder)]
    else:
        command = ["mount", "-t", "tmpfs", "-o", "size=12m", "small", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting needs rights: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_zeroes_are_written_where_space_cannot_be_kept_otherwise(without_holes: int) -> None:
    raw = Noted(3 * MIB)
    blank(without_holes, raw, 100, 2 * MIB)
    assert raw.holds == b"\xff" * 100 + bytes(2 * MIB) + b"\xff" * (MIB - 100)


def test_holes_are_filled_with_zeroes_where_space_cannot_be_reserved_otherwise(without_holes: int) -> None:
    raw = Noted(MIB)
    reserve_holes(without_holes, raw, [(4096, 8192), (65536, 4096)])
    expected = b"\xff" * 4096 + bytes(8192) + b"\xff" * (65536 - 12288) + bytes(4096) + b"\xff" * (MIB - 69632)
    assert raw.holds == expected


@pytest.mark.parametrize("direct", [True, False])
def test_a_file_system_that_fills_up_is_found_out_by_reserving(small: Path, runtime: Path, direct: bool) -> None:
    """What was reserved can be written when nothing else can; what could not be reserved takes no space."""
    images = ImagesCloud(small, runtime, Power.NONE, ImagesOptions(direct_write=direct))
    one, other = images.make([4 * MIB]), images.make([16 * MIB], "other")
    with roomy_target_of(images, one) as disk, roomy_target_of(images, other) as large:
        disk.write_at(0, b"x" * MIB)
        disk.flush()
        with pytest.raises(Unavailable, match="reserving of 16777216 bytes at 0: No space left"):
            large.reserve(0, 16 * MIB)
        assert images.path_of(other).stat().st_blocks * 512 <= 300 << 10
        disk.reserve(0, 4 * MIB)
        with pytest.raises(Unavailable, match="No space left"):
            fill(large)
        disk.write_at(MIB, b"y" * (3 * MIB))
        disk.blank_at(0, 2 * MIB)
        disk.flush()
        with pytest.raises(Unavailable, match="No space left"):
            fill(large)
        disk.write_at(0, b"w" * 2 * MIB)  # what was zeroed has kept its space
        disk.flush()
    assert images.path_of(one).read_bytes() == b"w" * (2 * MIB) + b"y" * (2 * MIB)


@pytest.mark.parametrize("small", ["ext4"], indirect=True)
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", [MIB, MIB + 512])
def test_rereading_finds_what_memory_hides(small: Path, runtime: Path, direct: bool, size: int) -> None:
    """A byte that changes on the medium, below the file system, is found, also in a last page that is no whole one."""
    images = ImagesCloud(small, runtime, Power.NONE, ImagesOptions(direct_write=direct))
    server, data = images.make([size]), bytearray(os.urandom(size))
    with roomy_target_of(images, server) as disk:
        disk.write_at(0, data)
        disk.flush()
        assert images.path_of(server).read_bytes() == data  # and now it is in the page cache
        for at in (5 * 4096 + 7, size - 1):
            flip_on_medium(small.parent / "medium", bytes(data[at // 512 * 512 : at // 512 * 512 + 512]), at % 512)
        assert images.path_of(server).read_bytes() == data
        for at in (5 * 4096 + 7, size - 1):
            data[at] ^= 0xFF
        assert reread(disk, 0, size) == data
        assert reread(disk, size - 1, 1) == data[-1:]


def fill(disk: BlockTarget) -> None:
    for at in range(0, disk.size, MIB // 4):
        disk.write_at(at, b"z" * (MIB // 4))
        disk.flush()


def flip_on_medium(medium: Path, sector: bytes, at: int) -> None:
    with medium.open("r+b") as file:
        place = file.read().index(sector) + at
        file.seek(place)
        file.write(bytes([sector[at] ^ 0xFF]))
