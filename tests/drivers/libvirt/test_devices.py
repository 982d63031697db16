"""Disks that are block devices, and disks that change their size."""

from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.live import SIZES, disks_in, moment_of, running, sequences_in
from tests.conformance.servers import SHORT
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.image_files import to_qcow2
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud
from tests.drivers.libvirt.test_live import Backups, left_over

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import ServerId
from restead.domain.server import Server, ServerStatus

_BLOCK_RESIZE_BYTES = 1


@pytest.fixture
def cloud(clouds: Cloud) -> LibvirtCloud:
    return clouds("embed", devices=True)


def device_of(server: Server, number: int = 1) -> Path:
    path = Path(server.volumes[number].location)
    assert path.is_block_device()
    return path


def sizes_seen(cloud: LibvirtCloud, server: Server) -> list[int]:
    return [volume.size for volume in cloud.servers.server(PROJECT, server.id).volumes]


def test_devices_are_backed_up_running_and_stopped_and_get_back_what_they_held(cloud: LibvirtCloud) -> None:
    server = running(cloud, "W")
    with moment_of(cloud, server) as moment:
        held, (first, second) = disks_in(server, moment), sequences_in(server, moment)
        assert first <= second <= first + 1
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    with moment_of(cloud, server) as moment:
        assert sequences_in(server, moment) > (first, second)
    for number, disk in enumerate(held):
        with target_of(cloud, server, number) as target:
            target.write_at(0, disk)
            target.flush()
    assert held == [cloud.bytes_of(server, volume.id) for volume in server.volumes]
    cloud.servers.start(PROJECT, server.id)
    with moment_of(cloud, server) as moment:
        assert sequences_in(server, moment) >= (first, second)


def test_a_device_that_grew_shows_what_the_guest_was_told(cloud: LibvirtCloud) -> None:
    """Before somebody tells the domain it is as large as it was; afterwards, and stopped, as it is."""
    server = running(cloud, "H")
    cloud.loops.resize(device_of(server), 3 * MIB)
    with moment_of(cloud, server) as moment:
        assert [each.size for each in moment.sources.values()] == list(SIZES)
    cloud.domain(server).blockResize("vdb", 3 * MIB, _BLOCK_RESIZE_BYTES)
    with moment_of(cloud, server) as moment:
        assert [each.size for each in moment.sources.values()] == [SIZES[0], 3 * MIB]
        assert [len(each) for each in disks_in(server, moment)] == sizes_seen(cloud, server)
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    with source_of(cloud, server, 1) as source:
        assert source.size == 3 * MIB


def test_a_device_that_was_cut_is_refused_while_its_guest_believes_more(cloud: LibvirtCloud) -> None:
    """QEMU reads zeroes behind the end of a disk: they are no backup of what was there."""
    server, words = running(cloud, "H"), f"has {MIB} bytes .* believes {2 * MIB}"
    opened = moment_of(cloud, server)
    source = opened.__enter__().sources[server.volumes[1].id]
    cloud.loops.resize(device_of(server), MIB)
    assert len(read(source)) == 2 * MIB
    with pytest.raises(Unavailable, match=words):
        opened.__exit__(None, None, None)
    with pytest.raises(Unavailable, match=words), moment_of(cloud, server):
        pass
    assert left_over(cloud, server) == []
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    with source_of(cloud, server, 1) as source:
        assert (source.size, sizes_seen(cloud, server)) == (MIB, [SIZES[0], MIB])


def test_a_device_that_is_gone_is_said(cloud: LibvirtCloud) -> None:
    server = cloud.make([MIB, MIB])
    cloud.loops.detach(device_of(server))
    found = cloud.servers.server(PROJECT, server.id)
    assert (found.status, [volume.size for volume in found.volumes]) == (ServerStatus.ERROR, [MIB, 0])
    for opening in (target_of, source_of):
        with pytest.raises(Unavailable, match=server.volumes[1].id), opening(cloud, server, 1):
            pass


def test_an_image_on_a_device_is_refused_with_the_reason(cloud: LibvirtCloud) -> None:
    path = cloud.folder / "image.raw"
    path.write_bytes(bytes(MIB))
    image = to_qcow2(path)
    id = "4d7f6b0e-2a58-4a52-9f3c-6d1f0a2b3c4d"
    cloud.format = "qcow2"
    cloud.define(id, "image", PROJECT, [cloud.loops.of(image)])
    server = cloud.servers.server(PROJECT, ServerId(id))
    for opening in (target_of, source_of):
        with pytest.raises(InvalidRequest, match="qcow2 image on a block device"), opening(cloud, server):
            pass


def test_an_image_that_grew_is_read_whole_once(clouds: Cloud) -> None:
    """What was marked before counts for a disk of another size; from then on what is marked counts again."""
    cloud = clouds("embed", format="qcow2")
    server = running(cloud, "W")
    backups = Backups(cloud, server)
    backups.make()
    cloud.domain(server).blockResize("vdb", 3 * MIB, _BLOCK_RESIZE_BYTES)
    backups.make()
    assert [len(copy) for copy in backups.copies.values()] == [SIZES[0], 3 * MIB]
    assert backups.known == [True, False]
    backups.make()
    assert backups.known == [True, True]
