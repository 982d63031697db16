"""The place of qcow2 images, by their own tables: what room they have on a device, and what of them was cut off."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB
from tests.drivers.image_files import needs_loops, needs_qemu_nbd, qemu_img
from tests.lab.loops import LoopDevices

from restead.domain.errors import InvalidRequest
from restead.domain.ids import VolumeId
from restead.drivers.disks.qcow2_room import DeviceRoom, data_behind

pytestmark = needs_qemu_nbd
ID = VolumeId("d")
SIZE = 16 * MIB
PLAIN = "compat=1.1"
KINDS = (PLAIN, "compat=0.10", "extended_l2=on", "cluster_size=4k", "cluster_size=512", "cluster_size=2M",
         "refcount_bits=1", "refcount_bits=64", "lazy_refcounts=on")  # fmt: skip


class Image:
    """An image in a file, looked at as if it was on a device of *room* bytes."""

    def __init__(self, path: Path, options: str = PLAIN) -> None:
        self.path = path
        qemu_img("create", "-q", "-f", "qcow2", "-o", options, str(path), str(SIZE))

    def io(self, *commands: str, device: Path | None = None) -> str:
        words = [word for command in commands for word in ("-c", command)]
        command = ["qemu-io", "-f", "qcow2", *words, str(device or self.path)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout + done.stderr

    def refuses(self, room: int, *stretches: tuple[int, int]) -> str:
        """Return why those stretches find no room, "" if they may."""
        with self.path.open("rb") as file:
            try:
                DeviceRoom(file.fileno(), room).require(ID, stretches)
            except InvalidRequest as error:
                return f"{error.code.value}: {error.message}"
        return ""

    def least(self, *stretches: tuple[int, int], step: int) -> int:
        """Return the size of the smallest device on which those stretches may find room."""
        low, high = 0, 2 * SIZE // step + 8
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.refuses(middle * step, *stretches) else (low, middle)
        return low * step

    def lost(self, size: int) -> int:
        """Return where data is lost if the image is cut to that size."""
        copy = self.path.with_name("copy")
        copy.write_bytes(self.path.read_bytes())
        os.truncate(copy, size)
        with copy.open("rb") as file:
            return data_behind(file.fileno(), size)


@pytest.fixture
def loops() -> Iterator[LoopDevices]:
    with LoopDevices() as devices:
        yield devices


@needs_loops
@pytest.mark.parametrize("options", KINDS)
def test_what_is_said_to_find_room_does_and_what_is_not_does_not(
    tmp_path: Path, loops: LoopDevices, options: str
) -> None:
    """QEMU itself writes it to a device of the size that is said to be the least, and to one that is a cluster less."""
    step = {"cluster_size=4k": 4096, "cluster_size=512": 512, "cluster_size=2M": 2 * MIB}.get(options, 65536)
    image = Image(tmp_path / "a.qcow2", options)
    image.io(f"write -P 1 0 {MIB}", f"write -P 2 {5 * MIB} 100k")
    least = image.least((MIB // 2, MIB), (9 * MIB + 5, 3 * MIB), step=step)
    before = image.path.read_bytes()
    for size, fits in ((least, True), (least - step, False)):
        image.path.write_bytes(before)
        os.truncate(image.path, size)
        device = loops.of(image.path)
        said = image.io(f"write -P 3 {MIB // 2} 1M", f"write -P 3 {9 * MIB + 5} 3M", "flush", device=device)
        assert ("No space left" in said) is not fits, said[-500:]
        assert "No errors" in qemu_img("check", "-f", "qcow2", str(device))
        loops.detach(device)


def test_what_is_there_needs_no_room_but_what_a_snapshot_shares_does(tmp_path: Path) -> None:
    image = Image(tmp_path / "a.qcow2")
    image.io(f"write 0 {2 * MIB}")
    full = image.path.stat().st_size
    assert image.refuses(full, (0, 2 * MIB)) == ""
    assert "131072 are needed" in image.refuses(full, (2 * MIB - 1, 65537), (2 * MIB + 65536, 65536))
    qemu_img("snapshot", "-q", "-c", "before", str(image.path))
    assert f"at least {2 * MIB + 65536} are needed" in image.refuses(image.path.stat().st_size, (0, 2 * MIB))


def test_both_numbers_are_told_and_the_disk(tmp_path: Path) -> None:
    image = Image(tmp_path / "a.qcow2")
    assert image.refuses(8 * 65536, (0, SIZE)) == (
        f"CSBS.6024: disk d is a qcow2 image on a device of {8 * 65536} bytes, in which {4 * 65536} bytes are free; "
        f"at least {SIZE + 65536} are needed: make the device larger"
    )


def test_stretches_that_meet_in_a_cluster_count_it_once(tmp_path: Path) -> None:
    image = Image(tmp_path / "a.qcow2")
    assert image.least(*((at, 4096) for at in range(0, 65536, 4096)), step=65536) == image.least((5, 1), step=65536)


@pytest.mark.parametrize("options", KINDS)
def test_data_behind_the_end_is_found(tmp_path: Path, options: str) -> None:
    """Wherever an image was cut; whole it is whole, also if its end is a hole."""
    image = Image(tmp_path / "a.qcow2", options)
    image.io(f"write -P 1 0 {4 * MIB}", "flush")
    whole = image.path.stat().st_size
    assert image.lost(whole) == image.lost(whole + MIB) == 0
    assert all(cut <= image.lost(cut) < whole for cut in range(4 * MIB, 600, -300_000))
    image.io(f"discard 0 {4 * MIB}", f"write -z {8 * MIB} {MIB}", f"write -P 1 {9 * MIB} 512")
    assert image.lost(image.path.stat().st_size) == 0


@pytest.mark.parametrize("preallocation", ["metadata", "falloc", "full"])
def test_an_image_that_was_given_its_place_before_is_whole(tmp_path: Path, preallocation: str) -> None:
    image = Image(tmp_path / "a.qcow2", f"preallocation={preallocation}")
    assert image.lost(image.path.stat().st_size) == 0
    assert image.lost(SIZE // 2) >= SIZE // 2


def test_tables_that_are_cut_off_are_found(tmp_path: Path) -> None:
    """Then what they would say is gone as well: a block of counts stands with the first of what it counts."""
    image = Image(tmp_path / "a.qcow2", "cluster_size=512")
    image.io(f"write -P 1 0 {MIB}", "flush")
    ends = range(1536, image.path.stat().st_size, 512 * 43)
    assert all(image.lost(end) >= end for end in ends)


def test_what_is_compressed_is_found_behind_the_end_and_needs_no_room(tmp_path: Path) -> None:
    raw, path = tmp_path / "raw", tmp_path / "c.qcow2"
    raw.write_bytes(b"".join(random.Random(at).randbytes(512) * 8 for at in range(SIZE // 4096)))
    image = Image(path)
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(path))
    whole = path.stat().st_size
    assert image.lost(whole) == 0
    assert image.lost(whole // 2) > whole // 2
    assert image.refuses(whole, (0, SIZE)) == ""


@pytest.mark.parametrize("at", [20, 36, 56, 96])
def test_tables_that_cannot_be_are_said(tmp_path: Path, at: int) -> None:
    image = Image(tmp_path / "a.qcow2")
    with image.path.open("r+b") as file:
        file.seek(at)
        file.write(b"\x7f\xff\xff\xff")
    with pytest.raises(ValueError, match="tables that cannot be"):
        image.lost(SIZE)
