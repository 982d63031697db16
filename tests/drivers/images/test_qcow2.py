# ruff: noqa: PT012 - what is left by an error is a whole opening
"""qcow2 disks: which are opened, by what process, and what that process leaves behind."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.image_files import bytes_of, needs_qemu_nbd, qemu_img
from tests.drivers.images.cloud import ImagesCloud
from tests.lab.microguest import await_report

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.domain.ids import ServerId, VolumeId
from restead.domain.server import Server, ServerStatus
from restead.drivers.disks.gateway import Gateway
from restead.drivers.images import DiskDefinition, ImagesDriver, ImagesOptions, Power, ServerDefinition
from restead.drivers.images.stored import from_json, to_json
from restead.ports import BlockTarget, KeepsSpace, TracksChanges
from restead.workflows.target import WatchedTarget

pytestmark = needs_qemu_nbd
SIZE = 8 * MIB


@pytest.fixture
def cloud(tmp_path: Path, runtime: Path) -> ImagesCloud:
    return ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2")


def definition(*disks: DiskDefinition) -> ServerDefinition:
    return ServerDefinition("web-2", PROJECT, disks)


def patched(path: Path, at: int, shape: str, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(shape, number))


def image(path: Path, *words: str, size: int = SIZE) -> Path:
    qemu_img("create", "-q", "-f", "qcow2", *words, str(path), str(size))
    return path


# ------------------------------------------------------------------ which images are opened


def _raw(path: Path) -> None:
    path.write_bytes(bytes(SIZE))


def _short(path: Path) -> None:
    path.write_bytes(b"QFI\xfb" + bytes(20))


def _backed(path: Path) -> None:
    base = path.with_name("secret.raw")
    base.write_bytes(b"secret" * 1000)
    image(path, "-F", "raw", "-b", str(base))


def _backed_by_nothing(path: Path) -> None:
    """Named only: QEMU would look for it."""
    image(path)
    patched(path, 8, ">Q", 4096)


def _data_outside(path: Path) -> None:
    image(path, "-o", f"data_file={path.with_name('outside')}")


def _encrypted(path: Path) -> None:
    image(path)
    patched(path, 32, ">I", 2)


def _corrupt(path: Path) -> None:
    image(path)
    patched(path, 72, ">Q", 2)


def _newer(path: Path) -> None:
    image(path)
    patched(path, 4, ">I", 4)


def _unknown(path: Path) -> None:
    image(path)
    patched(path, 72, ">Q", 1 << 9)


def _empty(path: Path) -> None:
    image(path)
    patched(path, 24, ">Q", 0)


def _odd(path: Path) -> None:
    image(path)
    patched(path, 24, ">Q", SIZE + 5)


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (_raw, "does not begin as a qcow2 image does; if it is raw, say format=raw"),
    (_short, "does not begin as a qcow2 image does"),
    (_backed, "with a backing file, which is never followed"),
    (_backed_by_nothing, "with a backing file, which is never followed"),
    (_data_outside, "with its data in another file"),
    (_encrypted, "encrypted"),
    (_corrupt, "marked as corrupt"),
    (_newer, "version 4"),
    (_unknown, "not known here (bits 0x200)"),
    (_empty, "shows 0 bytes"),
    (_odd, f"shows {SIZE + 5} bytes"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_an_image_that_does_not_stand_alone_is_refused(
    cloud: ImagesCloud, make: Callable[[Path], None], reason: str
) -> None:
    """When it is added, and when it became so later: it is neither opened nor started then."""
    path = cloud.folder / "odd.qcow2"
    make(path)
    with pytest.raises(InvalidRequest) as refused:
        cloud.driver.add(definition(DiskDefinition(path, format="qcow2")))
    assert reason in refused.value.message
    server = cloud.make([SIZE])
    path.replace(cloud.path_of(server))
    assert cloud.driver.server(PROJECT, server.id).status is ServerStatus.ERROR
    for opening in (source_of, target_of):
        with pytest.raises(Unavailable) as closed, opening(cloud, server):
            pass
        assert reason in closed.value.message
        assert server.volumes[0].id in closed.value.message


def test_a_server_with_such_an_image_does_not_start(tmp_path: Path, runtime: Path) -> None:
    machines = ImagesCloud(tmp_path, runtime, Power.QEMU, format="qcow2")
    server = machines.make([4 * MIB], boots=True)
    machines.path_of(server).unlink()
    _backed(machines.path_of(server))
    try:
        with pytest.raises(Unavailable, match="backing file, which is never followed"):
            machines.driver.start(PROJECT, server.id)
    finally:
        machines.close()


def assert_cut(cloud: ImagesCloud, server: Server, at: int) -> None:
    """Its image opens neither way, since it has data behind that byte."""
    for opening in (source_of, target_of):
        with pytest.raises(Unavailable, match=f"has data at byte [0-9]+ and was cut at {at}") as cut:
            with opening(cloud, server):
                pass
        assert server.volumes[0].id in cut.value.message


def test_an_image_that_was_cut_is_not_read(cloud: ImagesCloud) -> None:
    """As a copy that broke off is: QEMU reads zeroes behind the end, and a backup would call them the disk."""
    server, data = cloud.make([SIZE]), random.Random(7).randbytes(SIZE)
    with target_of(cloud, server) as target:
        target.write_at(0, data)
        target.flush()
    path = cloud.path_of(server)
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    assert_cut(cloud, server, len(whole) // 2)
    path.write_bytes(whole)
    with source_of(cloud, server) as source:
        assert read(source) == data


def test_the_size_is_what_a_machine_sees(cloud: ImagesCloud) -> None:
    path = image(cloud.folder / "large.qcow2", size=1 << 40)
    added = cloud.driver.add(definition(DiskDefinition(path, format="qcow2")))
    assert [volume.size for volume in cloud.driver.server(PROJECT, added.id).volumes] == [1 << 40]


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, runtime: Path) -> None:
    """Before the server is added, and at each opening."""
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2")
    server = cloud.make([SIZE])
    cloud.volumes = ImagesDriver(tmp_path / "data", runtime, ImagesOptions(qemu_nbd="no-such-program"))
    path = image(tmp_path / "other.qcow2")
    needed = "program no-such-program was not found: qcow2 disks need it .Debian: qemu-utils."
    with pytest.raises(Unavailable, match=needed):
        cloud.volumes.add(definition(DiskDefinition(path, format="qcow2")))
    with pytest.raises(Unavailable, match=needed), source_of(cloud, server):
        pass


def test_a_program_that_cannot_do_it_is_an_error(tmp_path: Path, runtime: Path) -> None:
    """It ends, it says nothing: an error with its words, and no socket is left."""
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2")
    server = cloud.make([SIZE])
    program = tmp_path / "qemu-nbd"
    program.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    program.chmod(0o700)
    cloud.volumes = ImagesDriver(tmp_path / "data", runtime, ImagesOptions(qemu_nbd=str(program)))
    with pytest.raises(Unavailable, match=r"cannot be opened: .*qemu-nbd ended with status 3") as raised:
        with target_of(cloud, server):
            pass
    assert "no luck today" in raised.value.detail
    assert list(runtime.glob("*.nbd")) == []


def test_what_an_older_restead_would_take_for_raw_it_does_not_read() -> None:
    """Its definition has the next schema; one with raw disks alone keeps the old one."""
    raw = replace(definition(DiskDefinition(Path("/a"))), id=ServerId("s"))
    both = replace(raw, disks=(*raw.disks, DiskDefinition(Path("/b"), format="qcow2")))
    assert [to_json(raw)["schema"], to_json(both)["schema"]] == [1, 2]
    assert from_json(json.loads(json.dumps(to_json(both))), "s") == both
    strange = json.loads(json.dumps(to_json(both)))
    strange["disks"][1]["format"] = "qcow9"
    with pytest.raises((Unavailable, Damaged), match="qcow9"):
        from_json(strange, "s")


def test_a_guest_boots_from_an_image_and_again_from_what_was_put_back(tmp_path: Path, runtime: Path) -> None:
    """Its counter, which it writes itself, says that it found its own disk again, as it was when it was read."""
    machines = ImagesCloud(tmp_path, runtime, Power.QEMU, format="qcow2")
    server = machines.make([4 * MIB], boots=True)
    log = machines.driver.serial_log(server.id)
    try:
        for boots in (1, 2):
            machines.servers.start(PROJECT, server.id)
            assert await_report(log, lambda report, boots=boots: report.ready and report.boots == boots)
            machines.servers.stop(PROJECT, server.id, grace=timedelta(seconds=20))
            if boots == 1:
                with source_of(machines, server) as source:
                    kept = read(source)
                assert kept == machines.bytes_of(server, server.volumes[0].id)
                with target_of(machines, server) as target:
                    target.zero_at(0, target.size)
                    target.flush()
                    target.write_at(0, kept)
                    target.flush()
        qemu_img("check", "-q", "-f", "qcow2", str(machines.path_of(server)))
    finally:
        machines.close()


# ------------------------------------------------------------------ the process


def holders(path: Path) -> list[int]:
    """Return the processes, but for this one, that have the file open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [fd.readlink() for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        if path in links and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def test_the_process_ends_with_the_opening_and_leaves_no_socket(cloud: ImagesCloud, runtime: Path) -> None:
    server = cloud.make([SIZE])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for opening in (source_of, target_of):
        with opening(cloud, server):
            assert len(holders(cloud.path_of(server))) == 1
            assert list(runtime.glob("*.nbd")) == []
        assert holders(cloud.path_of(server)) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "nbd"]


@pytest.mark.parametrize("direct", [True, False])
def test_writes_go_past_the_page_cache_if_that_is_asked_for(tmp_path: Path, runtime: Path, direct: bool) -> None:
    options = ImagesOptions(direct_read=direct, direct_write=direct)
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, options, format="qcow2")
    server = cloud.make([SIZE])
    for opening in (source_of, target_of):
        with opening(cloud, server):
            (pid,) = holders(cloud.path_of(server))
            flags = [
                int(line.split()[1], 8)
                for info in Path(f"/proc/{pid}/fdinfo").iterdir()
                if Path(f"/proc/{pid}/fd/{info.name}").readlink() == cloud.path_of(server)
                for line in info.read_text().splitlines()
                if line.startswith("flags:")
            ]
            assert any(flag & os.O_DIRECT for flag in flags) == direct


def test_others_meet_our_locks(cloud: ImagesCloud) -> None:
    """While it is written nobody reads it; while it is read nobody writes it."""
    server = cloud.make([SIZE])
    path = str(cloud.path_of(server))
    with target_of(cloud, server), pytest.raises(subprocess.CalledProcessError):
        qemu_img("info", "-f", "qcow2", path)
    with source_of(cloud, server):
        qemu_img("info", "-f", "qcow2", path)
        with pytest.raises(subprocess.CalledProcessError):
            qemu_img("resize", "-f", "qcow2", path, "+1M")


def test_an_image_that_somebody_else_has_open_does_not_open(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    words = ["qemu-io", "-f", "qcow2", str(cloud.path_of(server))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("length\n")
        other.stdin.flush()
        assert "8 MiB" in other.stdout.readline()
        for opening in (source_of, target_of):
            with pytest.raises(Unavailable, match="in use"), opening(cloud, server):
                pass
        other.stdin.close()


def test_what_is_zeroed_is_given_back(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    with target_of(cloud, server) as target:
        assert not isinstance(target, KeepsSpace)
        target.write_at(0, random.Random(1).randbytes(SIZE))
        target.flush()
        full = cloud.allocated(server, server.volumes[0].id)
        target.zero_at(0, SIZE)
        target.flush()
        assert full >= SIZE
    assert cloud.allocated(server, server.volumes[0].id) < MIB
    qemu_img("check", "-q", "-f", "qcow2", str(cloud.path_of(server)))


def test_what_somebody_else_may_have_written_meanwhile_is_not_known(cloud: ImagesCloud) -> None:
    """Whoever opens the image without asking for locks may write where nobody looks any more."""
    server = cloud.make([SIZE])
    with target_of(cloud, server) as target:
        assert isinstance(target, TracksChanges)
        target.write_at(0, b"x")
        assert target.generation()
        with cloud.path_of(server).open("r+b"):
            assert target.generation() == ""


def test_bitmaps_are_kept(cloud: ImagesCloud, runtime: Path) -> None:
    """They are stored when the image is closed, and are no reason to believe that nobody has written meanwhile."""
    server = cloud.make([SIZE])
    path = cloud.path_of(server)
    qemu_img("bitmap", "--add", "-f", "qcow2", "-g", "64k", str(path), "since-monday")
    with source_of(cloud, server) as source:
        assert isinstance(source, TracksChanges)
        name = source.generation()
    with target_of(cloud, server) as target:
        assert isinstance(target, TracksChanges)
        assert target.changed_since(name) is None  # qemu-nbd has marked the bitmap as in use
        target.write_at(MIB, b"x")
        target.flush()
    info = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", str(path)))
    bitmaps = info["format-specific"]["data"]["bitmaps"]
    assert [(each["name"], each["flags"]) for each in bitmaps] == [("since-monday", ["auto"])]
    assert dirty_bytes(path, "since-monday", runtime / "nbd") == 64 << 10


def dirty_bytes(path: Path, bitmap: str, socket: Path) -> int:
    """Count what a bitmap says has changed: a copy of it is all that another image is given by a backup of QEMU's."""
    words = ["qemu-nbd", "--read-only", "--format=qcow2", f"--bitmap={bitmap}", "--socket", str(socket), str(path)]
    with subprocess.Popen(words) as process:
        until = time.monotonic() + 120
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        # The bitmap as an image's holes (QEMU's own x-dirty-bitmap): what is dirty is no data.
        options = f"driver=nbd,server.type=unix,server.path={socket},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
        mapped = json.loads(qemu_img("map", "--output=json", "--image-opts", options))
        process.wait(20)
    return sum(each["length"] for each in mapped if not each["data"])


@pytest.mark.parametrize(
    "options", ["lazy_refcounts=on", "extended_l2=on", "cluster_size=2M", "preallocation=metadata"]
)
def test_images_of_all_kinds_are_written(tmp_path: Path, runtime: Path, options: str) -> None:
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2", qcow2=options)
    server, data = cloud.make([SIZE]), random.Random(2).randbytes(3 * MIB)
    with target_of(cloud, server) as target:
        target.write_at(MIB + 5, data)
        target.zero_at(2 * MIB, 100_000)
        target.flush()
        assert read(target, MIB + 5, 1000) == data[:1000]
    expected = bytearray(SIZE)
    expected[MIB + 5 : 4 * MIB + 5] = data
    expected[2 * MIB : 2 * MIB + 100_000] = bytes(100_000)
    assert cloud.bytes_of(server, server.volumes[0].id) == expected
    qemu_img("check", "-q", "-f", "qcow2", str(cloud.path_of(server)))


def test_compressed_images_and_snapshots_inside_are_read_and_written(cloud: ImagesCloud) -> None:
    server, data = cloud.make([SIZE]), b"compress me " * (SIZE // 12 + 1)
    path, raw = cloud.path_of(server), cloud.folder / "raw"
    raw.write_bytes(data[:SIZE])
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(path))
    qemu_img("snapshot", "-q", "-c", "before", str(path))
    with source_of(cloud, server) as source:
        assert read(source) == data[:SIZE]
    with target_of(cloud, server) as target:
        target.write_at(5, b"changed")
        target.flush()
    assert cloud.bytes_of(server, server.volumes[0].id) == data[:5] + b"changed" + data[12:SIZE]
    qemu_img("convert", "-l", "before", "-f", "qcow2", "-O", "raw", str(path), str(raw))
    assert raw.read_bytes() == data[:SIZE]


@pytest.mark.parametrize(
    ("kind", "kept"), [("alone", True), ("snapshot", False), ("compressed", False)]
)
def test_zeroing_that_keeps_space_is_not_enough_to_put_back(
    tmp_path: Path, runtime: Path, kind: str, kept: bool
) -> None:
    """Why such a disk is no KeepsSpace: a snapshot's or a compressed cluster has no place of its own to be kept.

    NBD does not tell which those are.  Written zeroes always have one.
    """
    raw, needed = tmp_path / "raw", {}
    raw.write_bytes(b"z" * SIZE)
    for how in ("keep", "write"):
        path = tmp_path / how
        words = ["-c"] if kind == "compressed" else []
        qemu_img("convert", *words, "-f", "raw", "-O", "qcow2", str(raw), str(path))
        if kind == "snapshot":
            qemu_img("snapshot", "-q", "-c", "before", str(path))
        fd, gateway = os.open(path, os.O_RDWR), Gateway("qemu-nbd", runtime)
        try:
            with gateway.served(VolumeId("d"), fd, write=True, direct=False) as client:
                if how == "keep":
                    client.zero_at(0, SIZE, keep_space=True)
                else:
                    client.write_at(0, bytes(SIZE))
                client.flush()
            before = os.fstat(fd).st_blocks
            with gateway.served(VolumeId("d"), fd, write=True, direct=False) as client:
                client.write_at(0, b"z" * SIZE)
                client.flush()
            needed[how] = (os.fstat(fd).st_blocks - before) * 512
        finally:
            os.close(fd)
    assert needed["write"] < MIB
    assert (needed["keep"] < MIB) is kept, needed


def test_a_full_disk_fails_a_restore_and_not_its_putting_back(tmp_path: Path, runtime: Path) -> None:
    """What was overwritten finds its place again, though everything was written until nothing found room."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "small", str(folder)]).returncode != 0:
        pytest.skip("mounting needs rights")
    try:
        cloud = ImagesCloud(folder, runtime, Power.NONE, format="qcow2")
        server, data = cloud.make([2 * SIZE]), random.Random(5).randbytes(4 * MIB)
        with target_of(cloud, server) as target:
            target.write_at(2 * MIB, data)
            target.flush()
        with pytest.raises(Unavailable, match="No space left on device"), target_of(cloud, server) as target:
            watched = _watched(target)
            watched.blank_at(2 * MIB, len(data))
            watched.write_at(7 * MIB, random.Random(6).randbytes(9 * MIB))
        with target_of(cloud, server) as target:
            watched = _watched(target)
            watched.blank_at(0, 2 * MIB)
            watched.write_at(2 * MIB, data)
            watched.blank_at(6 * MIB, 10 * MIB)
            watched.flush()
            watched.punch(0, 2 * MIB)
            watched.punch(6 * MIB, 10 * MIB)
            watched.flush()
        assert cloud.allocated(server, server.volumes[0].id) < 5 * MIB
        with source_of(cloud, server) as source:
            assert read(source) == bytes(2 * MIB) + data + bytes(10 * MIB)
        assert no_corruption(cloud.path_of(server))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _watched(target: BlockTarget) -> WatchedTarget:
    return WatchedTarget(target, check=lambda: None, first=lambda: None, spend=lambda _: None)


# ------------------------------------------------------------------ deaths


def test_a_process_that_is_killed_fails_every_call_and_is_no_end_of_the_image(cloud: ImagesCloud) -> None:
    """What it had been told to write may be there or not; no other byte has changed."""
    server, data = cloud.make([SIZE]), random.Random(3).randbytes(SIZE)
    with target_of(cloud, server) as target:
        target.write_at(0, data[: 4 * MIB])
        target.flush()
    why = f"disk {server.volumes[0].id}: flush: .*unknown"
    with pytest.raises(Unavailable, match=why), target_of(cloud, server) as target:
        target.write_at(4 * MIB, data[4 * MIB :])
        (pid,) = holders(cloud.path_of(server))
        os.kill(pid, signal.SIGKILL)
        for call in (target.flush, lambda: read(target, 0, 10), lambda: list(target.extents(0, 10))):
            with pytest.raises(Unavailable, match=server.volumes[0].id):
                call()
        target.write_at(0, b"x")
    with target_of(cloud, server) as target:
        assert read(target, 0, 4 * MIB) == data[: 4 * MIB]
        target.write_at(4 * MIB, data[4 * MIB :])
        target.flush()
    assert cloud.bytes_of(server, server.volumes[0].id) == data
    assert no_corruption(cloud.path_of(server))


def no_corruption(path: Path) -> bool:
    """Tell whether the image is in order but for clusters that nothing uses any more."""
    return subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(path)]).returncode in (0, 3)


# Opens a target as the service does, says so at some points, and writes until it is killed.
_WRITER = """
import sys, pathlib
from restead.drivers.images import ImagesDriver, ImagesOptions
data, runtime, project, server, volume = sys.argv[1:]
driver = ImagesDriver(pathlib.Path(data), pathlib.Path(runtime), ImagesOptions())
print("begin", flush=True)
with driver.open_target(project, server, volume) as target:
    print("open", flush=True)
    while True:
        for at in range(0, target.size, 65536):
            target.write_at(at, bytes([at >> 16 & 255]) * 65536)
"""


def _writer(cloud: ImagesCloud, runtime: Path, server: Server) -> "subprocess.Popen[str]":
    words = [str(cloud.folder / "data"), str(runtime), PROJECT, server.id, server.volumes[0].id]
    process = subprocess.Popen([sys.executable, "-c", _WRITER, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


def is_locked(path: Path) -> bool:
    """A dying process lets go of its locks a moment after its files are no longer listed."""
    return subprocess.run(["qemu-img", "info", "-f", "qcow2", str(path)], capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("opened", "after"),
    [*((False, number * 0.004) for number in range(12)), (True, 0.0), (True, 0.01), (True, 0.1), (True, 0.3)],
)
def test_it_does_not_outlive_a_service_that_is_killed(
    cloud: ImagesCloud, runtime: Path, opened: bool, after: float
) -> None:
    """Whenever that happens: while it starts, while it agrees, while it writes; once it is open it closes in order."""
    server = cloud.make([SIZE])
    path = cloud.path_of(server)
    qemu_img("bitmap", "--add", "-f", "qcow2", str(path), "kept")
    writer = _writer(cloud, runtime, server)
    if opened:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    time.sleep(after)
    writer.kill()
    with writer:
        pass
    until = time.monotonic() + 20
    while holders(path) or is_locked(path):
        assert time.monotonic() < until, f"{holders(path)} still have it open"
        time.sleep(0.01)
    assert no_corruption(path)
    if opened:
        qemu_img("check", "-q", "-f", "qcow2", str(path))
        info = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", str(path)))
        assert [each["flags"] for each in info["format-specific"]["data"]["bitmaps"]] == [["auto"]]
    with target_of(cloud, server) as target:
        target.write_at(0, b"the next one")
        target.flush()


def test_an_image_that_is_replaced_while_it_is_written_is_not_called_written(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    path = cloud.path_of(server)
    with target_of(cloud, server) as target:
        target.write_at(0, b"x")
        path.rename(path.with_suffix(".old"))
        image(path)
        with pytest.raises(Unavailable, match="was replaced by another while it was written"):
            target.flush()
        with pytest.raises(Unavailable, match="was replaced"):
            target.write_at(0, b"y")
    assert bytes_of(path, "qcow2") == bytes(SIZE)


def test_an_image_that_is_changed_while_it_is_read_is_not_called_read(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    with pytest.raises(Unavailable, match="was changed while it was read"), source_of(cloud, server) as source:
        read(source)
        with cloud.path_of(server).open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(b"x")
