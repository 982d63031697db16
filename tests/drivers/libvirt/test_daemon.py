"""A libvirtd that ends and comes back."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.live import moment_of
from tests.conformance.volumes import read
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.lab.domains import libvirtd_in

from restead.domain.errors import Unavailable
from restead.domain.server import ServerStatus
from restead.drivers.libvirt.connection import Connection


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rsd-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_a_daemon_may_end_and_come_back(folder: Path, tmp_path: Path, runtime: Path) -> None:
    """Its machines go on meanwhile; a backup that was under way is ended then, and the next one is made."""
    with libvirtd_in(folder) as uri:
        cloud = LibvirtCloud(tmp_path, runtime, Connection(uri), format="qcow2")
        server = cloud.make([4 * MIB, MIB], boots=True)
        cloud.servers.start(PROJECT, server.id)
        moment = moment_of(cloud, server)
        moment.__enter__()
    with pytest.raises(Unavailable):
        cloud.servers.server(PROJECT, server.id)
    # What it has to end stays noted: nobody answers.
    assert not moment.__exit__(KeyError, KeyError("the story broke off"), None)
    with libvirtd_in(folder):
        assert cloud.servers.server(PROJECT, server.id).status is ServerStatus.RUNNING
        with moment_of(cloud, server) as again:
            assert [len(read(source)) for source in again.sources.values()] == [4 * MIB, MIB]
        assert len(cloud.driver._connection.get().lookupByUUIDString(server.id).listAllCheckpoints()) == 1
        cloud.connection = cloud.driver._connection.get()
        cloud.close()
        cloud.driver.close()
