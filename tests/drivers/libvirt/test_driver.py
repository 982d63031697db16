"""What the driver refuses, and how it tells states apart."""

import json
import os
import uuid
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.volumes import source_of, target_of
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud
from tests.lab.domains import domain_xml

from restead.domain.errors import InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ServerId
from restead.domain.policy import Selection
from restead.domain.server import Server, ServerStatus
from restead.domain.tag import Tag
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.drivers.libvirt.connection import Connection
from restead.drivers.libvirt.left_over import LeftOver
from restead.drivers.libvirt.machine import METADATA

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")


@pytest.fixture
def mock(clouds: Cloud) -> LibvirtCloud:
    return clouds("test")


@pytest.fixture
def real(clouds: Cloud) -> LibvirtCloud:
    return clouds("embed")


def test_a_domain_of_nobody_is_no_server(mock: LibvirtCloud) -> None:
    domain = mock.define(str(uuid.uuid4()), "nobodys", "", [])
    with pytest.raises(NotFound):
        mock.driver.server(PROJECT, ServerId(domain.UUIDString()))
    assert mock.driver.servers(PROJECT) == []
    assert mock.driver.projects() == []


def test_policies_select_domains_by_the_tags_in_their_metadata(real: LibvirtCloud) -> None:
    """Set as `virsh metadata` does, on a domain that is stopped and on one that runs."""
    server = real.make([4 * MIB])
    selection = Selection(tags=(Tag("tier", "web"),))
    assert not selection.takes(real.driver.server(PROJECT, server.id))
    _set_metadata(real, server, "web", libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert real.driver.server(PROJECT, server.id).tags == (("tier", "web"),)
    assert all(selection.takes(each) for each in real.driver.servers(PROJECT))
    real.driver.start(PROJECT, server.id)
    _set_metadata(real, server, "db", libvirt.VIR_DOMAIN_AFFECT_CONFIG | libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert not selection.takes(real.driver.server(PROJECT, server.id))
    real.driver.stop(PROJECT, server.id, grace=timedelta())
    assert real.driver.server(PROJECT, server.id).tags == (("tier", "db"),)


def _set_metadata(cloud: LibvirtCloud, server: Server, tier: str, flags: int) -> None:
    text = f"<server project='{PROJECT}'><tag key='tier' value='{tier}'/></server>"
    cloud.domain(server).setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "restead", METADATA, flags)


def test_a_domain_without_its_disk_is_in_error(mock: LibvirtCloud) -> None:
    server = mock.make([MIB, MIB])
    Path(server.volumes[1].location).unlink()
    found = mock.driver.server(PROJECT, server.id)
    assert (found.status, [volume.size for volume in found.volumes]) == (ServerStatus.ERROR, [MIB, 0])


def test_a_paused_domain_runs_and_goes_on(mock: LibvirtCloud) -> None:
    server = mock.make([MIB])
    mock.driver.start(PROJECT, server.id)
    mock.domain(server).suspend()
    assert mock.driver.server(PROJECT, server.id).status is ServerStatus.RUNNING
    with pytest.raises(Unavailable), target_of(mock, server):
        pass
    mock.driver.start(PROJECT, server.id)
    assert mock.domain(server).state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_a_saved_memory_keeps_disks_closed(mock: LibvirtCloud) -> None:
    """Started again, it would believe what it knows of disks that hold something else by then."""
    server = mock.make([MIB])
    mock.driver.start(PROJECT, server.id)
    mock.domain(server).managedSave()
    assert mock.driver.server(PROJECT, server.id).status is ServerStatus.BUSY
    for opening in (target_of, source_of):
        with pytest.raises(Unavailable, match="saved memory"), opening(mock, server):
            pass
    mock.domain(server).managedSaveRemove()
    with target_of(mock, server):
        pass


def test_a_transient_domain_is_not_stopped(real: LibvirtCloud, tmp_path: Path) -> None:
    disk, id = tmp_path / "t.raw", str(uuid.uuid4())
    disk.touch()
    os.truncate(disk, MIB)
    domain = real.connection.createXML(domain_xml(id, "passing", PROJECT, [disk], tmp_path / "serial"))
    try:
        found = real.driver.server(PROJECT, ServerId(id))
        assert (found.status, found.can_stop) == (ServerStatus.RUNNING, False)
        with pytest.raises(InvalidRequest, match="transient"):
            real.driver.stop(PROJECT, ServerId(id), grace=timedelta())
        assert domain.isActive()
    finally:
        domain.destroy()


def test_a_guest_that_does_not_obey_is_destroyed_after_its_grace(real: LibvirtCloud) -> None:
    server = real.make([4 * MIB])  # nothing that boots: nobody sees the power button
    real.driver.start(PROJECT, server.id)
    real.driver.stop(PROJECT, server.id, grace=timedelta(seconds=1.2))
    assert real.driver.server(PROJECT, server.id).status is ServerStatus.STOPPED


def test_disks_of_another_machine_do_not_open(mock: LibvirtCloud, tmp_path: Path, runtime: Path) -> None:
    """The connection shows and switches the domain; what its paths mean here is chance."""
    server = mock.make([MIB])
    connection = Connection(mock.uri)
    connection.get()
    options = LibvirtOptions("qemu+ssh://far.example/system")
    far = LibvirtDriver(tmp_path, runtime, options, connection=_Same(mock))
    assert far.server(PROJECT, server.id).name == "web-1"
    far.start(PROJECT, server.id)
    far.stop(PROJECT, server.id, grace=timedelta(seconds=5))
    volume = server.volumes[0].id
    with pytest.raises(InvalidRequest, match=r"is on far\.example"), far.open_target(PROJECT, server.id, volume):
        pass
    with pytest.raises(InvalidRequest, match=r"is on far\.example"), far.open_moment(PROJECT, server.id, [volume]):
        pass


class _Same(Connection):
    """A connection that another cloud has opened."""

    def __init__(self, cloud: LibvirtCloud) -> None:
        super().__init__(cloud.uri)
        self._cloud = cloud

    def get(self) -> Any:
        return self._cloud.connection


def test_a_connection_that_nobody_answers_says_so(tmp_path: Path, runtime: Path) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    driver = LibvirtDriver(tmp_path, runtime, LibvirtOptions(uri, {"*": "p"}))
    with pytest.raises(Unavailable, match="cannot be reached"):
        driver.servers(PROJECT)
    with pytest.raises(Unavailable, match="cannot be reached"):
        driver.server(PROJECT, ServerId(str(uuid.uuid4())))


def test_a_domain_that_cannot_be_cleaned_up_holds_up_no_other(mock: LibvirtCloud) -> None:
    """Of the mock hypervisor's that run nobody can know whether a backup job is there: whichever is looked at first."""
    servers = [mock.make([MIB], f"web-{number}") for number in range(3)]
    notes = {server.id: mock.folder / f"data/scratch/libvirt-{server.id}.note" for server in servers}
    notes[servers[0].id].parent.mkdir(parents=True)
    for path in notes.values():
        path.write_text(json.dumps(asdict(LeftOver("/none", ()))))
    for number in (0, 2):
        mock.driver.start(PROJECT, servers[number].id)
    with pytest.raises(Unavailable, match="cannot be ended"):
        mock.driver.clean_up(lambda: None)
    assert [notes[server.id].stat().st_size == 0 for server in servers] == [False, True, False]


def test_restead_keeps_out_of_its_own_folder(mock: LibvirtCloud, tmp_path: Path) -> None:
    own = tmp_path / "data" / "own.raw"
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(bytes(MIB))
    domain = mock.define(str(uuid.uuid4()), "web-2", PROJECT, [own])
    server = mock.driver.server(PROJECT, ServerId(domain.UUIDString()))
    with pytest.raises(Unavailable, match="own data folder"), target_of(mock, server):
        pass
