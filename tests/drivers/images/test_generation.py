"""What a file held before, known without reading it: what counts as a change, and what makes it unknown."""

import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.changes import changed, generation, unchanged
from tests.conformance.cloud import MIB
from tests.drivers.images.cloud import ImagesCloud

from restead.domain.server import Server
from restead.drivers.disks.generation import generation_of, identity_of, is_another, is_of


def _write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def _map(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000] = 1


def _direct(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as page:
        os.pwrite(fd, page, 8192)
    os.close(fd)


def _write_and_hide(path: Path) -> None:
    status = path.stat()
    _write(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    fresh = path.with_suffix(".fresh")
    shutil.copy2(path, fresh)
    fresh.rename(path)


def _grow(path: Path) -> None:
    os.truncate(path, 3 * MIB)
    os.truncate(path, 2 * MIB)


def _punch(path: Path) -> None:
    subprocess.run(["fallocate", "--punch-hole", "-o", "0", "-l", "4096", path], check=True)


@pytest.mark.parametrize("how", [_write, _map, _direct, _write_and_hide, _replace, _grow, _punch])
def test_every_way_to_write_is_noted(images: ImagesCloud, how: Callable[[Path], None]) -> None:
    server: Server = images.make([2 * MIB])
    path = images.path_of(server)
    path.write_bytes(os.urandom(2 * MIB))
    noted = generation(images, server)
    assert unchanged(changed(images, server, noted))
    how(path)
    assert changed(images, server, noted) is None
    assert noted != generation(images, server)


def test_a_file_that_was_written_this_instant_is_waited_for(tmp_path: Path) -> None:
    """A write in the same step of the kernel's clock would else go unnoticed: tried many times, back to back."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    fd = os.open(path, os.O_RDWR)
    for number in range(10):
        os.pwrite(fd, bytes([number]), 0)
        noted = generation_of(fd)
        assert noted
        os.pwrite(fd, b"!", 1)
        assert not is_of(fd, noted)
    os.close(fd)


def test_a_file_system_that_keeps_whole_seconds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ext4 with inodes of 128 bytes does: two writes within one second leave the same time."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    real, second = os.fstat, 1_000_000_000

    def in_seconds(fd: int) -> os.stat_result:
        status = real(fd)
        times = [int(time // second) * second for time in (status.st_mtime_ns, status.st_ctime_ns)]
        named = {"st_mtime_ns": times[0], "st_ctime_ns": times[1], "st_atime_ns": status.st_atime_ns}
        return os.stat_result(tuple(status)[:10], named)

    monkeypatch.setattr(os, "fstat", in_seconds)
    fd = os.open(path, os.O_RDWR)
    for number in range(3):
        os.pwrite(fd, bytes([number]), 0)
        noted = generation_of(fd)
        assert noted
        os.pwrite(fd, b"!", 1)
        assert not is_of(fd, noted)
    os.close(fd)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no file system in memory here")
def test_a_file_system_in_memory_is_not_relied_on() -> None:
    """A mapped page of it that was only read takes writes afterwards without a note."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(bytes(8192))
        file.flush()
        before = os.fstat(file.fileno())
        with mmap.mmap(file.fileno(), 0) as mapped:
            assert mapped[0] == 0
            mapped[0] = 1
        assert generation_of(file.fileno()) == ""
        assert os.fstat(file.fileno()).st_ctime_ns == before.st_ctime_ns, "it keeps time now: it could be relied on"


def test_times_of_the_future_are_not_relied_on(tmp_path: Path) -> None:
    """The clock was put back: the kernel may write the same time once more."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    os.utime(path, ns=(2**62, 2**62))
    fd = os.open(path, os.O_RDONLY)
    assert generation_of(fd) == ""
    assert not is_of(fd, "")
    os.close(fd)


def test_another_boot_makes_everything_unknown(tmp_path: Path) -> None:
    """Data may have reached the disk before the power went, and the note of it not."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    fd = os.open(path, os.O_RDONLY)
    noted = generation_of(fd)
    boot, rest = noted.split(" ", 1)
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert is_of(fd, noted)
    assert not is_of(fd, f"00000000-0000-0000-0000-000000000000 {rest}")
    os.close(fd)


def test_a_file_system_that_is_not_known_to_keep_time_is_not_relied_on() -> None:
    fd = os.open("/proc/self/mounts", os.O_RDONLY)  # a regular file, as far as its status tells
    assert generation_of(fd) == ""
    os.close(fd)


def test_a_disk_is_known_after_a_reboot_as_far_as_it_can_be(tmp_path: Path) -> None:
    """Devices have other numbers then; a file keeps its own, and one with the number of a removed one is another."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"a")
    other.write_bytes(b"b")
    with path.open("rb") as one, other.open("rb") as two:
        boot, kind, device, number, version = identity_of(one.fileno()).split(" ")
        assert kind == "file"
        earlier = f"earlier file 250:77 {number} {version}"
        assert not is_another(one.fileno(), identity_of(one.fileno()))
        assert not is_another(one.fileno(), earlier)
        assert is_another(two.fileno(), earlier)
        assert is_another(one.fileno(), f"{boot} file 250:77 {number} {version}"), "in one boot the device counts"
        assert is_another(one.fileno(), f"earlier file {device} {number} {int(version) + 1}")
        assert is_another(one.fileno(), "earlier device 250:77")
