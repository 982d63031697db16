"""What a domain's XML says, and what is made of it."""

from pathlib import Path

import pytest

from restead.domain.errors import Damaged, InvalidRequest
from restead.drivers.libvirt.kept import nvram_file
from restead.drivers.libvirt.machine import read_machine
from restead.drivers.libvirt.options import LibvirtOptions

_ID = "6e5a3cc1-1111-4222-8333-0123456789ab"


def machine(disks: str, more: str = "", os: str = ""):
    return read_machine(f"""<domain type='kvm'><name>web-1</name><uuid>{_ID}</uuid>
        <memory unit='GiB'>2</memory><vcpu>3</vcpu><os><type arch='aarch64'>hvm</type>{os}</os>
        <devices>{disks}</devices>{more}</domain>""")


def disk(target: str, inside: str = "", kind: str = "file", source: str = "<source file='/d/x.raw'/>") -> str:
    return f"<disk type='{kind}' device='disk'>{source}<target dev='{target}'/>{inside}</disk>"


def test_a_machine_is_described() -> None:
    found = machine(disk("vda"), "<metadata><server xmlns='urn:restead:domain:1' project='p'/></metadata>")
    assert (found.uuid, found.name, found.project) == (_ID, "web-1", "p")
    assert (found.memory, found.cpus, found.architecture) == (2048, 3, "aarch64")
    assert (found.disks[0].path, found.disks[0].format, found.disks[0].strange) == ("/d/x.raw", "raw", "")


@pytest.mark.parametrize("server", [
    "<server xmlns='urn:restead:domain:1' project='p'>{}</server>",
    "<restead:server xmlns:restead='urn:restead:domain:1' project='p'>{}</restead:server>",
])  # fmt: skip
def test_tags_stand_in_the_metadata_in_either_writing(server: str) -> None:
    said = server.format("<tag key='tier' value='web'/><tag key='prod'/><other key='x' value='y'/>")
    assert machine("", f"<metadata>{said}</metadata>").tags == (("tier", "web"), ("prod", ""))
    assert machine("", "<metadata><tag key='tier' value='web'/></metadata>").tags == ()


def test_ids_of_disks_stay() -> None:
    """They depend on the domain and the serial, else the target: written down here, for no release may change them."""
    plain, serial = machine(disk("vda")).disks[0], machine(disk("vda", "<serial>S1</serial>")).disks[0]
    assert plain.id == "036fb97d-13d2-5817-b587-6ad25a130464"
    assert serial.id == "c22eb2e8-7de8-5464-93ab-bb9f9683ee5c"
    assert plain.id == machine(disk("vda", source="<source file='/elsewhere'/>")).disks[0].id
    assert plain.id != machine(disk("vdb")).disks[0].id
    assert serial.id == machine(disk("sda", "<serial>S1</serial>")).disks[0].id


def test_two_disks_of_one_serial_are_told_by_their_targets() -> None:
    ids = {each.id for each in machine(disk("vda", "<serial>S</serial>") + disk("vdb", "<serial>S</serial>")).disks}
    assert len(ids) == 2


def test_a_shared_disk_has_one_id_in_all_domains() -> None:
    one = machine(disk("vdb", "<shareable/>")).disks[0]
    disks = disk("vdz", "<shareable/>")
    text = f"<domain><name>o</name><uuid>{_ID[:-1]}c</uuid><devices>{disks}</devices></domain>"
    assert one.shared
    assert one.id == read_machine(text).disks[0].id


def test_the_boot_disk_is_first() -> None:
    """It is the one of the lowest order; the first one where none has any."""
    ordered = disk("vda", "<boot order='3'/>") + disk("vdb") + disk("vdc", "<boot order='2'/>")
    assert [each.target for each in machine(ordered).disks] == ["vdc", "vda", "vdb"]
    assert [each.boot for each in machine(disk("vda") + disk("vdb")).disks] == [True, False]


def test_drives_for_media_are_no_disks() -> None:
    kinds = ("cdrom", "floppy")
    drives = "".join(f"<disk type='file' device='{each}'><target dev='hd{each}'/></disk>" for each in kinds)
    assert [each.target for each in machine(drives + disk("vda")).disks] == ["vda"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (disk("vda", kind="network", source="<source protocol='rbd' name='pool/x'/>"), "type 'network'"),
        (disk("vda", kind="volume", source="<source pool='p' volume='v'/>"), "type 'volume'"),
        (disk("vda", source=""), "no source"),
        (disk("vda", "<driver name='qemu' type='vmdk'/>"), "format 'vmdk'"),
        (disk("vda", "<encryption format='luks'/>"), "encrypted"),
        (disk("vda", source="<source file='/x'><encryption format='luks'/></source>"), "encrypted"),
        (disk("vda", source="<source file='/x'><slices/></source>"), "slice"),
        (disk("vda", "<transient/>"), "transient"),
    ],
)
def test_what_is_not_opened_says_why(text: str, why: str) -> None:
    assert why in machine(text).disks[0].strange


def test_nvram_and_tpm_are_seen() -> None:
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    assert machine(disk("vda") + tpm).has_tpm
    assert not machine(disk("vda") + "<tpm><backend type='passthrough'/></tpm>").has_tpm
    assert machine("", os="<nvram template='/t'>/v/x_VARS.fd</nvram>").nvram == "/v/x_VARS.fd"
    assert machine("", os="<nvram type='file'><source file='/v/y'/></nvram>").nvram == "/v/y"
    assert machine("", os="<nvram type='block'><source dev='/dev/y'/></nvram>").nvram == "/dev/y"
    assert [machine("", os=each).has_nvram for each in ("", "<nvram/>", "<bios/>")] == [False, True, False]


@pytest.mark.parametrize(("uri", "folder"), [
    ("qemu:///system", "/var/lib/libvirt/qemu/nvram"), ("qemu:///embed?root=/r", "/r/lib/qemu/nvram"),
    ("qemu+unix:///session", "/config/libvirt/qemu/nvram"),
])  # fmt: skip
def test_variables_of_firmware_that_libvirt_chooses_are_where_it_keeps_them(
    uri: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The XML of a domain that does not run says nothing of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    text = f"<domain><name>web-1</name><uuid>{_ID}</uuid><os firmware='{{}}'><type>hvm</type></os></domain>"
    found = read_machine(text.format("efi"))
    assert (found.has_nvram, found.nvram) == (True, "")
    assert nvram_file(found, LibvirtOptions(uri)) == Path(folder) / "web-1_VARS.fd"
    assert not read_machine(text.format("bios")).has_nvram


@pytest.mark.parametrize("text", ["", "<domain/>", "<network><name>x</name><uuid>y</uuid></network>", "<domain>"])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(Damaged):
        read_machine(text)


def test_the_settings_say_whose_a_domain_is() -> None:
    """The first entry that fits counts, and before all that the domain says of itself."""
    options = LibvirtOptions("qemu:///system", {_ID.upper(): "by-id", "web-*": "by-name", "*": "rest"})
    assert options.project_of("web-1", _ID, "said") == "by-id"
    assert options.project_of("web-2", "another", "said") == "by-name"
    assert options.project_of("db", "another", "said") == "rest"
    assert LibvirtOptions("qemu:///system").project_of("db", _ID, "said") == "said"


@pytest.mark.parametrize(
    ("uri", "host"),
    [("qemu:///system", ""), ("qemu+unix:///system?socket=/run/s", ""),
     ("qemu+ssh://root@h.example/system", "h.example"),
     ("qemu+tls://[::1]/system", "[::1]"), ("qemu+tcp://[::1]:5/system", "[::1]"),
     ("qemu+tcp://h:16509/system", "h"), ("test:///default", ""), ("qemu+ssh:///system", "")],
)  # fmt: skip
def test_a_uri_tells_whose_disks_they_are(uri: str, host: str) -> None:
    assert LibvirtOptions(uri).host == host


@pytest.mark.parametrize("uri", ["xen:///system", "lxc:///", "esx://h/", "qemuu:///x", "/run/x"])
def test_other_hypervisors_are_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="no connection to QEMU"):
        LibvirtOptions(uri)
