"""A domain that is lost as a whole is defined again from its description."""

import shutil
import uuid
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.drivers.image_files import qemu_img
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.domain.ids import ServerId, VolumeId
from restead.domain.server import Server
from restead.drivers.libvirt.kept import describe, read_kept
from restead.drivers.libvirt.machine import read_machine
from restead.drivers.libvirt.options import LibvirtOptions

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")

_TPM = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"


@pytest.fixture
def cloud(clouds: Cloud) -> LibvirtCloud:
    return clouds("embed", format="qcow2")


def sizes(server: Server) -> dict[VolumeId, int]:
    return {volume.id: volume.size for volume in server.volumes}


def made(cloud: LibvirtCloud, *, os: str = "", more: str = "") -> Server:
    """Define a domain with a raw and a qcow2 disk."""
    raw, image, id = cloud.folder / "a.raw", cloud.folder / "b.qcow2", str(uuid.uuid4())
    raw.write_bytes(bytes(2 * MIB))
    qemu_img("create", "-q", "-f", "qcow2", str(image), str(3 * MIB))
    cloud.define(id, "lost", PROJECT, [raw, image], os=os, more=more)
    return cloud.driver.server(PROJECT, ServerId(id))


def lose(cloud: LibvirtCloud, server: Server) -> None:
    cloud.domain(server).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    for volume in server.volumes:
        Path(volume.location).unlink()


def recreated(cloud: LibvirtCloud, server: Server) -> list[str]:
    said: list[str] = []
    assert server.id == cloud.driver.recreate(server.description, sizes(server), said.append)
    return said


def test_a_lost_domain_is_what_it_was_with_empty_disks(cloud: LibvirtCloud) -> None:
    server = made(cloud)
    xml = cloud.domain(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    lose(cloud, server)
    said = recreated(cloud, server)
    assert len([line for line in said if "empty" in line]) == 2
    assert cloud.domain(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == xml
    assert cloud.driver.server(PROJECT, server.id).volumes == server.volumes


def test_uefi_variables_come_back(cloud: LibvirtCloud) -> None:
    nvram = cloud.folder / "vars.fd"
    nvram.write_bytes(bytes(range(256)) * 256)
    nvram.chmod(0o640)
    loader = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"
    server = made(cloud, os=f"{loader}<nvram>{nvram}</nvram>")
    lose(cloud, server)
    assert not nvram.exists()
    assert f"{nvram} holds what the backup kept" in recreated(cloud, server)
    assert nvram.read_bytes() == bytes(range(256)) * 256
    assert nvram.stat().st_mode & 0o777 == 0o640


def test_the_state_of_a_tpm_comes_back(cloud: LibvirtCloud) -> None:
    """As libvirt keeps it, of a TPM that was made by starting the domain; and the domain starts with it."""
    server = made(cloud, more=_TPM)
    cloud.driver.start(PROJECT, server.id)
    cloud.domain(server).destroy()
    server = cloud.driver.server(PROJECT, server.id)
    state = Path(cloud.uri.partition("root=")[2]) / "lib/swtpm" / server.id / "tpm2/tpm2-00.permall"
    held = state.read_bytes()
    lose(cloud, server)
    shutil.rmtree(state.parent.parent, ignore_errors=True)
    recreated(cloud, server)
    assert state.read_bytes() == held
    cloud.driver.start(PROJECT, server.id)


def test_nothing_that_is_there_is_touched(cloud: LibvirtCloud) -> None:
    server = made(cloud)
    with pytest.raises(InvalidRequest, match="nothing is lost"):
        recreated(cloud, server)
    cloud.domain(server).undefine()
    kept = Path(server.volumes[0].location)
    kept.write_bytes(b"precious" + bytes(2 * MIB - 8))
    Path(server.volumes[1].location).unlink()
    assert len(recreated(cloud, server)) == 1
    assert kept.read_bytes()[:8] == b"precious"


def test_another_domain_of_its_name_is_in_the_way(cloud: LibvirtCloud) -> None:
    server = made(cloud)
    lose(cloud, server)
    cloud.define(str(uuid.uuid4()), "lost", PROJECT, [])
    with pytest.raises(InvalidRequest, match="there is a domain lost"):
        recreated(cloud, server)
    assert not any(Path(volume.location).exists() for volume in server.volumes)


def test_what_cannot_be_made_is_said_before_anything_is(cloud: LibvirtCloud) -> None:
    server = made(cloud)
    lose(cloud, server)
    with pytest.raises(InvalidRequest, match="not in the backup"):
        cloud.driver.recreate(server.description, {server.volumes[0].id: MIB}, print)
    assert not any(Path(volume.location).exists() for volume in server.volumes)


def test_what_libvirt_refuses_leaves_nothing(cloud: LibvirtCloud) -> None:
    server = made(cloud)
    lose(cloud, server)
    broken = {**server.description, "xml": str(server.description["xml"]).replace("type='qemu'", "type='xen'")}
    with pytest.raises(Unavailable, match="is not defined"):
        cloud.driver.recreate(broken, sizes(server), print)
    assert not any(Path(volume.location).exists() for volume in server.volumes)


def test_what_cannot_be_kept_is_named(cloud: LibvirtCloud) -> None:
    """In the description, and when the domain is defined again."""
    server = made(cloud, more=_TPM)  # which was never started
    assert "state of the TPM: there is none in" in str(server.description["left_out"])
    lose(cloud, server)
    assert "the backup does not hold state of the TPM" in "\n".join(recreated(cloud, server))


def test_state_is_not_read_from_this_machine_for_another(cloud: LibvirtCloud) -> None:
    xml = cloud.domain(made(cloud, more=_TPM)).XMLDesc(0)
    about = describe(read_machine(xml), xml, LibvirtOptions("qemu+ssh://far.example/system"))
    assert about["left_out"] == ["state of the TPM: it is on far.example"]


@pytest.mark.parametrize(
    ("plain", "error"),
    [
        ({"driver": "images"}, InvalidRequest),
        ({"driver": "libvirt"}, InvalidRequest),
        ({"driver": "libvirt", "xml": "", "schema": 2}, Unavailable),
        ({"driver": "libvirt", "xml": "", "schema": 1}, Damaged),
        ({"driver": "libvirt", "xml": "", "schema": 1, "nvram": {"data": "AAAA"}, "tpm": {}, "left_out": []}, Damaged),
    ],
)
def test_a_description_that_is_none_is_refused(plain: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_kept(plain)
