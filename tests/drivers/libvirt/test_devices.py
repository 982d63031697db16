"""Disks that are block devices, and disks that change their size."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.live import SIZES, disks_in, moment_of, running, sequences_in
from tests.conformance.servers import SHORT
from tests.conformance.volumes import read, source_of, target_of
from tests.drivers.image_files import bytes_of, qemu_img
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud
from tests.drivers.libvirt.test_live import Backups, left_over

from restead.domain.errors import InvalidRequest, NotFound, Unavailable
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


def test_images_on_devices_are_marked(clouds: Cloud) -> None:
    """As those in files are: the second backup reads what was written, a restore ends that."""
    cloud = clouds("embed", format="qcow2", devices=True)
    server = running(cloud, "W")
    backups = Backups(cloud, server)
    for known in (False, True, True):
        backups.make()
        assert set(backups.known) == {known}
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    with target_of(cloud, server, 1) as target:
        target.write_at(MIB, b"restored")
        target.flush()
    assert b"restored" in cloud.bytes_of(server, server.volumes[1].id)
    assert "restead-" not in qemu_img("info", "-f", "qcow2", str(device_of(server)))
    cloud.servers.start(PROJECT, server.id)
    backups.make()
    assert set(backups.known) == {False}


def test_a_device_that_was_cut_under_its_image_is_refused(clouds: Cloud) -> None:
    """QEMU reads zeroes behind the end, of a domain that runs and of one that does not."""
    cloud = clouds("embed", format="qcow2", devices=True)
    server = running(cloud, "H")
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    with target_of(cloud, server, 1) as target:
        target.write_at(0, b"x" * 2 * MIB)
        target.flush()
    words = f"disk {server.volumes[1].id} is a qcow2 image that has data at byte [0-9]+ and was cut at {MIB}"
    cloud.servers.start(PROJECT, server.id)
    cloud.loops.resize(device_of(server), MIB)
    with pytest.raises(Unavailable, match=words), moment_of(cloud, server):
        pass
    assert left_over(cloud, server) == []
    cloud.servers.stop(PROJECT, server.id, grace=SHORT)
    for opening in (source_of, target_of):
        with pytest.raises(Unavailable, match=words), opening(cloud, server, 1):
            pass


def lost_on(cloud: LibvirtCloud, blank: Path) -> Server:
    """Define a domain with an image on a device, lose it, and put another file behind the device."""
    server = cloud.make([MIB])
    cloud.domain(server).undefine()
    device = device_of(server, 0)
    cloud.loops.detach(device)
    again = cloud.loops.of(blank)
    xml = str(server.description["xml"]).replace(str(device), str(again))
    return replace(server, description={**server.description, "xml": xml})


def blank(cloud: LibvirtCloud, *, size: int = 4 * MIB, data: bytes = b"", at: int = 0) -> Path:
    path = cloud.folder / "blank"
    path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    return path


def recreated(cloud: LibvirtCloud, server: Server) -> list[str]:
    said: list[str] = []
    cloud.driver.recreate(server.description, {server.volumes[0].id: MIB}, said.append)
    return said


def test_a_lost_domain_gets_an_empty_image_on_a_blank_device(clouds: Cloud) -> None:
    cloud = clouds("embed", format="qcow2", devices=True)
    server = lost_on(cloud, blank(cloud))
    (said,) = recreated(cloud, server)
    assert "was blank" in said
    with target_of(cloud, server) as target:
        assert target.size == MIB
        target.write_at(5, b"restored")
        target.flush()
    (volume,) = cloud.servers.server(PROJECT, server.id).volumes
    assert b"restored" in bytes_of(Path(volume.location), "qcow2")
    cloud.domain(server).undefine()
    assert recreated(cloud, server) == []  # an image that is there is left as it is
    assert b"restored" in bytes_of(Path(volume.location), "qcow2")


@pytest.mark.parametrize(
    ("size", "data", "at", "words"),
    [
        (4 * MIB, b"x", 3 * MIB + 7, f"other data, at byte {3 * MIB + 7}: nothing is overwritten.*qemu-img create"),
        (128 << 10, b"", 0, "has 131072 bytes, an empty qcow2 image of 1048576 takes 262144"),
    ],
)
def test_a_device_that_is_not_blank_or_too_small_is_no_place_for_an_image(
    clouds: Cloud, size: int, data: bytes, at: int, words: str
) -> None:
    cloud = clouds("embed", format="qcow2", devices=True)
    path = blank(cloud, size=size, data=data, at=at)
    held, server = path.read_bytes(), lost_on(cloud, path)
    with pytest.raises(InvalidRequest, match=words):
        recreated(cloud, server)
    assert path.read_bytes() == held
    with pytest.raises(NotFound):
        cloud.servers.server(PROJECT, server.id)


def test_what_libvirt_refuses_leaves_a_device_blank(clouds: Cloud) -> None:
    cloud = clouds("embed", format="qcow2", devices=True)
    path = blank(cloud)
    server = lost_on(cloud, path)
    broken = {**server.description, "xml": str(server.description["xml"]).replace("type='qemu'", "type='xen'")}
    with pytest.raises(Unavailable, match="is not defined"):
        recreated(cloud, replace(server, description=broken))
    assert path.read_bytes() == bytes(4 * MIB)


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
