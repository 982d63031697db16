"""A domain that is lost as a whole is defined again from its description."""

import shutil
import uuid
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.live import await_
from tests.drivers.image_files import qemu_img
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud
from tests.lab.linuxguest import packages

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


def test_a_link_that_leads_nowhere_stays(cloud: LibvirtCloud) -> None:
    """To storage that is not mounted, perhaps: it is not this command's."""
    server = made(cloud)
    lose(cloud, server)
    link = Path(server.volumes[0].location)
    link.symlink_to(cloud.folder / "not-mounted/a.raw")
    with pytest.raises(InvalidRequest, match=r"a link to .*/not-mounted/a\.raw, which is not there"):
        recreated(cloud, server)
    assert link.is_symlink()
    assert not Path(server.volumes[1].location).exists()


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


def test_variables_that_firmware_wrote_come_back_and_not_its_template(cloud: LibvirtCloud) -> None:
    """libvirt makes them of a template at the first start; a domain that is defined again starts with what was kept."""
    code, template, nvram = (cloud.folder / f"{name}.fd" for name in ("code", "template", "vars"))
    code.write_bytes(b"\xf4" * (64 << 10))  # a processor that meets it halts
    template.write_bytes(b"\xff" * (64 << 10))
    loader = f"<loader readonly='yes' type='pflash'>{code}</loader>"
    server = made(cloud, os=f"{loader}<nvram template='{template}'>{nvram}</nvram>")
    cloud.driver.start(PROJECT, server.id)
    cloud.domain(server).destroy()
    assert nvram.read_bytes() == template.read_bytes()
    nvram.write_bytes(b"\x01 what firmware wrote".ljust(64 << 10, b"\xff"))
    held = nvram.read_bytes()
    server = cloud.driver.server(PROJECT, server.id)
    lose(cloud, server)
    assert not nvram.exists()
    recreated(cloud, server)
    cloud.driver.start(PROJECT, server.id)
    assert nvram.read_bytes() == held


def test_variables_come_back_where_libvirt_chose_the_place(cloud: LibvirtCloud) -> None:
    """Of a domain whose XML says no more than `firmware='efi'`, as most programs define them."""
    nvram = Path(cloud.uri.partition("root=")[2]) / "lib/qemu/nvram/lost_VARS.fd"
    cloud.firmware = "efi"
    server = made(cloud)
    assert "UEFI variables: " in str(server.description["left_out"])  # it was never started
    nvram.parent.mkdir(parents=True, exist_ok=True)
    nvram.write_bytes(b"variables" * 1000)
    server = cloud.driver.server(PROJECT, server.id)
    lose(cloud, server)
    nvram.unlink(missing_ok=True)
    assert f"{nvram} holds what the backup kept" in recreated(cloud, server)
    assert nvram.read_bytes() == b"variables" * 1000
    nvram.unlink()


@pytest.mark.long
def test_a_machine_with_uefi_and_a_tpm_boots_with_what_it_had(cloud: LibvirtCloud) -> None:
    """Real firmware, which writes its variables, and a TPM, lost with their domain."""
    folder = packages().tree("ovmf") / "usr/share/OVMF"
    code, template, nvram = folder / "OVMF_CODE_4M.fd", folder / "OVMF_VARS_4M.fd", cloud.folder / "vars.fd"
    cloud.memory = 256
    loader = f"<loader readonly='yes' type='pflash'>{code}</loader>"
    server = made(cloud, os=f"{loader}<nvram template='{template}'>{nvram}</nvram>", more=_TPM)
    tpm = Path(cloud.uri.partition("root=")[2]) / "lib/swtpm" / server.id / "tpm2/tpm2-00.permall"

    def boots() -> None:
        cloud.serial_of(server.id).unlink(missing_ok=True)
        cloud.driver.start(PROJECT, server.id)
        await_(lambda: b"BdsDxe" in cloud.serial_of(server.id).read_bytes(), 250)
        cloud.domain(server).destroy()

    boots()
    held = nvram.read_bytes(), tpm.read_bytes()
    assert held[0] != template.read_bytes()
    assert "BootOrder".encode("utf-16-le") in held[0]
    server = cloud.driver.server(PROJECT, server.id)
    assert server.description["left_out"] == []
    lose(cloud, server)
    shutil.rmtree(tpm.parent.parent, ignore_errors=True)
    recreated(cloud, server)
    assert (nvram.read_bytes(), tpm.read_bytes()) == held
    boots()
    assert "BootOrder".encode("utf-16-le") in nvram.read_bytes()


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
