# ruff: noqa: PT012 - what is left by an error is a whole loop
"""qcow2 images on block devices: which are opened, how they are held, and what a full one is."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.image_files import needs_loops, needs_qemu_nbd, qemu_img
from tests.drivers.images.cloud import ImagesCloud
from tests.drivers.images.test_qcow2 import assert_cut, no_corruption

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.server import ServerStatus
from restead.drivers.images import DiskDefinition, ImagesOptions, Power, ServerDefinition
from restead.ports import LimitsSpace, TracksChanges

pytestmark = [needs_loops, needs_qemu_nbd]
SIZE = 8 * MIB


@pytest.fixture
def cloud(tmp_path: Path, runtime: Path) -> Iterator[ImagesCloud]:
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, format="qcow2", devices=True)
    yield cloud
    cloud.close()


def test_a_device_is_an_image_if_it_is_said_to_be_one_and_begins_so(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    device, raw = cloud.path_of(server), cloud.folder / "raw"
    raw.write_bytes(bytes(MIB))
    cloud.driver.remove(server.id)
    for path, format, words in (
        (device, "", "looks like qcow2: if it is, say so: format=qcow2"),
        (cloud.loops.of(raw), "qcow2", "does not begin as a qcow2 image does; if it is raw, say format=raw"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            cloud.driver.add(ServerDefinition("web-2", PROJECT, (DiskDefinition(path, format=format),)))


@pytest.mark.parametrize("direct", [True, False])
def test_a_device_is_held_while_it_is_written(tmp_path: Path, runtime: Path, direct: bool) -> None:
    """Nobody mounts it or swaps to it, qemu-nbd opens it all the same; QEMU's tools meet the locks."""
    options = ImagesOptions(direct_read=direct, direct_write=direct)
    cloud = ImagesCloud(tmp_path, runtime, Power.NONE, options, format="qcow2", devices=True)
    try:
        server = cloud.make([SIZE])
        device = cloud.path_of(server)
        with target_of(cloud, server) as target:
            target.write_at(0, b"x" * MIB)
            with pytest.raises(OSError, match="busy"):
                os.open(device, os.O_RDONLY | os.O_EXCL)
            target.flush()
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        holder = os.open(device, os.O_RDONLY | os.O_EXCL)
        for opening in (target_of, source_of):
            with pytest.raises(Unavailable, match=server.volumes[0].id), opening(cloud, server):
                pass
        os.close(holder)
        with source_of(cloud, server) as source:
            assert read(source, 0, MIB) == b"x" * MIB
    finally:
        cloud.close()


def test_a_device_notes_nothing_by_itself(cloud: ImagesCloud) -> None:
    server = cloud.make([SIZE])
    for opening in (target_of, source_of):
        with opening(cloud, server) as disk:
            assert isinstance(disk, TracksChanges)
            assert (disk.generation(), disk.changed_since("")) == ("", None)


def test_a_device_that_was_cut_under_its_image_does_not_open(cloud: ImagesCloud) -> None:
    """QEMU would read zeroes there.  Made larger again it opens: nothing was written."""
    server, data = cloud.make([SIZE]), random.Random(1).randbytes(SIZE)
    with target_of(cloud, server) as target:
        target.write_at(0, data)
        target.flush()
    device = cloud.path_of(server)
    cloud.loops.resize(device, 4 * MIB)
    assert_cut(cloud, server, 4 * MIB)
    assert cloud.driver.server(PROJECT, server.id).status is ServerStatus.STOPPED


def test_a_full_device_fails_what_needs_more_and_stays_an_image(cloud: ImagesCloud) -> None:
    """A bitmap that finds no place any more is none; all that was written and flushed is there."""
    server, data = cloud.make([2 * SIZE]), random.Random(2).randbytes(2 * SIZE)
    device = cloud.path_of(server)
    cloud.loops.resize(device, SIZE)
    name = f"restead-00000001-{'0' * 16}"
    qemu_img("bitmap", "--add", "-f", "qcow2", str(device), name)
    written = 0
    with target_of(cloud, server) as target:
        assert isinstance(target, LimitsSpace)
        assert target.limited
        with pytest.raises(InvalidRequest, match=f"disk {server.volumes[0].id} .* device of {SIZE} bytes"):
            target.require_room([(0, 2 * SIZE)])
        with pytest.raises(Unavailable, match=f"No space left on device: .* filled its device of {SIZE} bytes"):
            while True:
                target.write_at(written, data[written : written + 65536])
                written += 65536
        target.flush()
        assert SIZE - MIB < written < SIZE
        assert read(target, 0, written) == data[:written]
    assert no_corruption(device)
    with source_of(cloud, server) as source:
        assert read(source, 0, written) == data[:written]
        assert not any(read(source, written))
