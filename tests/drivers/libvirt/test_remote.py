"""A connection over the network: what is shown and switched by it, and what is refused."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.servers import SHORT
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.lab.domains import libvirtd_in

from restead.domain.backup import BackupRequest, plan_backup
from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.server import ServerStatus
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.drivers.libvirt.connection import Connection


class Far:
    """A libvirtd that listens on loopback, a cloud that is beside it, and a driver that comes over TCP."""

    def __init__(self, folder: Path, cloud: LibvirtCloud, port: int, tmp_path: Path, runtime: Path) -> None:
        self.folder, self.cloud, self.port = folder, cloud, port
        self.uri = f"qemu+tcp://127.0.0.1:{port}/system"
        self.driver = LibvirtDriver(tmp_path / "far", runtime, LibvirtOptions(self.uri, {"*": PROJECT}))


@pytest.fixture
def far(tmp_path: Path, runtime: Path) -> Iterator[Far]:
    folder, port = Path(tempfile.mkdtemp(prefix="rsd-", dir="/tmp")), _free_port()
    with libvirtd_in(folder, port) as uri:
        cloud = LibvirtCloud(tmp_path, runtime, Connection(uri))
        far = Far(folder, cloud, port, tmp_path, runtime)
        yield far
        far.driver.close()
        cloud.close()
        cloud.driver.close()
    shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_domains_are_shown_and_switched(far: Far) -> None:
    server = far.cloud.make([4 * MIB, MIB], boots=True)
    found = far.driver.server(PROJECT, server.id)
    assert [volume.size for volume in found.volumes] == [4 * MIB, MIB]
    assert (found.host, found.disks_at) == (server.host, "127.0.0.1")
    for status in (ServerStatus.RUNNING, ServerStatus.RUNNING):
        far.driver.start(PROJECT, server.id)
        assert far.driver.servers(PROJECT)[0].status is status
    far.driver.stop(PROJECT, server.id, grace=SHORT)
    far.driver.stop(PROJECT, server.id, grace=timedelta())
    assert far.cloud.driver.server(PROJECT, server.id).status is ServerStatus.STOPPED


def test_backups_are_refused_when_they_are_asked_for_and_disks_do_not_open(far: Far) -> None:
    """Running or stopped; and a backup job that somebody has begun over there is left alone."""
    server = far.cloud.make([4 * MIB, MIB], boots=True)
    volume = server.volumes[0].id
    for switch in (lambda: None, lambda: far.driver.start(PROJECT, server.id)):
        switch()
        found = far.driver.server(PROJECT, server.id)
        with pytest.raises(InvalidRequest, match=r"has its disks on 127\.0\.0\.1"):
            plan_backup(BackupRequest(server.id), found, busy=None)
        with pytest.raises(InvalidRequest, match=r"is on 127\.0\.0\.1"):
            far.driver.open_moment(PROJECT, server.id, [volume]).__enter__()
        with pytest.raises(InvalidRequest, match=r"is on 127\.0\.0\.1"):
            far.driver.open_target(PROJECT, server.id, volume).__enter__()
    ids = [each.id for each in server.volumes]
    with far.cloud.volumes.open_moment(PROJECT, server.id, ids) as moment:
        far.driver.clean_up(lambda: None)
        moment.sources[volume].read_into(0, memoryview(bytearray(MIB)))


def test_a_domain_is_defined_again_beside_its_disks_alone(far: Far) -> None:
    server = far.cloud.make([MIB], boots=False)
    found = far.driver.server(PROJECT, server.id)
    far.cloud.domain(server).undefine()
    with pytest.raises(InvalidRequest, match=r"the machine that its disks are on, 127\.0\.0\.1"):
        far.driver.recreate(found.description, {server.volumes[0].id: MIB}, print)


def test_a_connection_that_breaks_is_made_again(tmp_path: Path, runtime: Path) -> None:
    folder, port = Path(tempfile.mkdtemp(prefix="rsd-", dir="/tmp")), _free_port()
    driver = LibvirtDriver(tmp_path, runtime, LibvirtOptions(f"qemu+tcp://127.0.0.1:{port}/system", {"*": PROJECT}))
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}/system cannot be reached"):
        driver.servers(PROJECT)
    for _ in range(2):
        with libvirtd_in(folder, port):
            assert driver.servers(PROJECT) == []
        with pytest.raises(Unavailable):
            driver.servers(PROJECT)
    driver.close()
    shutil.rmtree(folder)
