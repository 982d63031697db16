"""A disk opens for us alone, or not at all; the other side is QEMU's own tools, and processes that know no locks."""

import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.images.cloud import ImagesCloud

from restead.domain.errors import Unavailable
from restead.domain.server import Server, ServerStatus
from restead.drivers.disks.backing import backing_of, open_backing
from restead.drivers.disks.guard import Guard
from restead.drivers.images.driver import ImagesDriver, ImagesOptions


@pytest.fixture
def server(images: ImagesCloud) -> Server:
    return images.make([MIB])


@pytest.fixture
def disk(images: ImagesCloud, server: Server) -> Path:
    return images.path_of(server)


def qemu_io(disk: Path, *commands: str, read_only: bool = False) -> "subprocess.CompletedProcess[str]":
    words = [word for command in commands for word in ("-c", command)]
    words += ["-r"] if read_only else []
    return subprocess.run(["qemu-io", "-f", "raw", *words, str(disk)], capture_output=True, text=True, check=False)


@contextmanager
def qemu_has_it_open(disk: Path) -> Iterator[None]:
    process = subprocess.Popen(["qemu-io", "-f", "raw", str(disk)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.read(len("qemu-io> "))
    try:
        yield
    finally:
        process.communicate(b"quit\n", timeout=20)


def test_qemu_refuses_a_disk_that_we_write(images: ImagesCloud, server: Server, disk: Path) -> None:
    with target_of(images, server):
        for read_only in (False, True):
            refused = qemu_io(disk, "read 0 512", read_only=read_only)
            assert "lock" in refused.stderr
            assert refused.returncode == 1
    assert qemu_io(disk, "write 0 512").returncode == 0


def test_qemu_may_read_but_not_write_a_disk_that_we_read(images: ImagesCloud, server: Server, disk: Path) -> None:
    with source_of(images, server):
        assert 'Failed to get "write" lock' in qemu_io(disk, "write 0 512").stderr
        assert qemu_io(disk, "read 0 512", read_only=True).returncode == 0
        copied = subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", disk, f"{disk}.copy"], check=False)
        assert copied.returncode == 0
    assert qemu_io(disk, "write 0 512").returncode == 0


def test_a_disk_that_qemu_writes_does_not_open(images: ImagesCloud, server: Server, disk: Path) -> None:
    with qemu_has_it_open(disk):
        for opening in (target_of, source_of):
            with pytest.raises(Unavailable, match="in use"), opening(images, server):
                pass
    with target_of(images, server), source_of(images, images.make([MIB])):
        pass


def test_a_disk_that_somebody_writes_without_locks_does_not_open(
    images: ImagesCloud, server: Server, disk: Path
) -> None:
    """For such writers there is the kernel's word alone: it is asked for a read lease."""
    with disk.open("r+b"):
        for opening in (target_of, source_of):
            with pytest.raises(Unavailable, match="open for writing"), opening(images, server):
                pass
    with disk.open("rb"), target_of(images, server):  # readers see it change, but that is their affair
        pass


def test_each_mark_of_a_qemu_that_tolerates_others_is_seen(images: ImagesCloud, server: Server, disk: Path) -> None:
    """A QEMU with a shared disk marks that it writes (byte 101) and refuses nobody; one that refuses may be idle."""
    for byte, openings in ((101, (target_of, source_of)), (103, (target_of, source_of)), (100, (target_of,)),
                           (200, (target_of, source_of)), (201, (target_of,))):  # fmt: skip
        fd = os.open(disk, os.O_RDONLY)
        try:
            mark = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, mark)
            for opening in openings:
                with pytest.raises(Unavailable, match="image lock"), opening(images, server):
                    pass
        finally:
            os.close(fd)


def test_a_refusal_is_not_believed_at_once(images: ImagesCloud, server: Server, disk: Path) -> None:
    """A child between fork and exec holds what we just closed, for a moment."""
    fd = os.open(disk, os.O_RDWR)
    closer = threading.Timer(0.1, os.close, (fd,))
    closer.start()
    with target_of(images, server) as target:
        target.write_at(0, b"opened")
    closer.join()


def test_somebody_who_opens_a_disk_while_we_ask_neither_hangs_nor_kills_us(
    images: ImagesCloud, server: Server, disk: Path
) -> None:
    """Breaking a lease sends a signal to its holder, which by default would end the process."""
    done = threading.Event()

    def open_and_close() -> None:
        while not done.is_set():
            os.close(os.open(disk, os.O_RDWR))

    other = threading.Thread(target=open_and_close)
    other.start()
    opened = 0
    until = time.monotonic() + 1.5
    try:
        while time.monotonic() < until:
            try:
                with source_of(images, server):
                    opened += 1
            except Unavailable:
                pass
    finally:
        done.set()
        other.join()
    assert opened > 0


def test_a_disk_that_changed_while_it_was_read_fails_the_moment(
    images: ImagesCloud, server: Server, disk: Path
) -> None:
    def write() -> None:
        with disk.open("r+b") as file:
            file.write(b"!")

    def read_while(change: Callable[[], None]) -> None:
        with source_of(images, server) as source:
            assert len(read(source)) == source.size
            time.sleep(0.02)  # the clock of file times goes in steps of some milliseconds
            change()

    def write_in_secret() -> None:
        """As programs do that keep a file's times."""
        status = disk.stat()
        write()
        os.utime(disk, ns=(status.st_atime_ns, status.st_mtime_ns))

    for change in (write, write_in_secret, lambda: os.truncate(disk, 2 * MIB), lambda: os.truncate(disk, MIB)):
        with pytest.raises(Unavailable, match="changed while it was read"):
            read_while(change)


def test_a_disk_that_became_shorter_fails_the_read(images: ImagesCloud, server: Server, disk: Path) -> None:
    def read_after_a_cut() -> None:
        with source_of(images, server) as source:
            os.truncate(disk, 4096)
            read(source)

    with pytest.raises(Unavailable, match=f"held {MIB} bytes .* ends at 4096"):
        read_after_a_cut()


def test_an_error_of_the_story_is_not_hidden_by_one_of_closing(
    images: ImagesCloud, server: Server, disk: Path
) -> None:
    def break_off() -> None:
        with source_of(images, server):
            os.truncate(disk, 2 * MIB)
            raise KeyError("the story broke off")

    with pytest.raises(KeyError):
        break_off()


def test_what_was_swapped_in_between_is_not_opened(disk: Path) -> None:
    """The path is resolved once; what stands there at opening must be what was checked."""
    checked = backing_of(disk)
    disk.rename(disk.with_name("moved"))
    for swap in (lambda: disk.write_bytes(bytes(MIB)), lambda: disk.symlink_to(disk.with_name("moved"))):
        swap()
        with pytest.raises(OSError, match=r"was .* when it was checked|symbolic links"):
            open_backing(checked, os.O_RDWR)
        disk.unlink()


def test_a_link_is_followed_at_every_opening(images: ImagesCloud, server: Server, disk: Path) -> None:
    other = disk.with_name("other.raw")
    other.write_bytes(b"2" * MIB)
    disk.unlink()
    disk.symlink_to(other)
    with source_of(images, server) as source:
        assert read(source) == b"2" * MIB


def test_a_lost_disk_is_an_error_of_the_server_and_does_not_open(
    images: ImagesCloud, server: Server, disk: Path
) -> None:
    disk.unlink()
    found = images.servers.server(PROJECT, server.id)
    assert found.status is ServerStatus.ERROR
    assert found.trouble == f"disk {server.volumes[0].name}: {disk}: No such file or directory"
    assert images.servers.servers(PROJECT) == [found]
    for opening in (target_of, source_of):
        with pytest.raises(Unavailable, match=f"disk {server.volumes[0].id} cannot be opened: No such file"):
            with opening(images, server):
                pass


def test_the_size_is_that_of_now(images: ImagesCloud, server: Server, disk: Path) -> None:
    os.truncate(disk, 3 * MIB)
    assert images.servers.server(PROJECT, server.id).volumes[0].size == 3 * MIB
    with source_of(images, server) as source:
        assert source.size == 3 * MIB


def test_a_disk_that_this_machine_uses_is_not_touched(
    images: ImagesCloud, server: Server, disk: Path, tmp_path: Path
) -> None:
    loop = tmp_path / "sys/block/loop0/loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text(f"{disk}\n")
    used = ImagesDriver(images.folder / "data", tmp_path, ImagesOptions(), Guard(sys=tmp_path / "sys"))
    for opening in (used.open_target, lambda p, s, v: used.open_moment(p, s, [v])):
        with pytest.raises(Unavailable, match="loop device loop0"), opening(PROJECT, server.id, server.volumes[0].id):
            pass


def _replace(disk: Path) -> None:
    disk.rename(f"{disk}.old")
    disk.write_bytes(b"\x22" * MIB)


def _cut(disk: Path) -> None:
    os.truncate(disk, 4096)


@pytest.mark.parametrize(
    ("deed", "said"), [(_replace, "was replaced"), (Path.unlink, "was removed"), (_cut, f"went from {MIB} to 4096")]
)
def test_what_is_not_the_disk_any_more_is_never_flushed_with_success(
    images: ImagesCloud, server: Server, disk: Path, deed: Callable[[Path], None], said: str
) -> None:
    """A restore into a file that is no longer the server's disk has restored nothing."""
    with target_of(images, server) as target:
        target.write_at(0, bytes(4096))
        target.flush()
        deed(disk)
        for _ in range(2):
            with pytest.raises(Unavailable, match=said):
                target.flush()


def test_a_disk_that_was_cut_to_nothing_is_no_empty_disk(images: ImagesCloud) -> None:
    """A backup of no bytes would call itself good."""
    server = images.make([MIB])
    os.truncate(images.path_of(server), 0)
    found = images.driver.server(PROJECT, server.id)
    assert (found.status, found.trouble.endswith(".raw holds nothing")) == (ServerStatus.ERROR, True), found.trouble
    for opening in (target_of, source_of):
        with pytest.raises(Unavailable, match="holds 0 bytes"), opening(images, server):
            pass
