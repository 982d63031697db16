"""A domain as its XML describes it: its disks, and what is told of it."""

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from restead.domain.errors import Damaged
from restead.domain.ids import VolumeId
from restead.drivers.disks.definition import FORMATS, DiskDefinition

# What ids of disks are derived in; never changes.
_NAMESPACE = uuid.UUID("3f0c0f5a-2f0e-5d3b-9a52-6c1b1d7f9e04")
METADATA = "urn:restead:domain:1"  # namespace of the element that says whose a domain is, and its tags
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 2**20, "MiB": 2**20, "GB": 10**9,
          "G": 2**30, "GiB": 2**30, "TB": 10**12, "T": 2**40, "TiB": 2**40}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MachineDisk:
    """One disk of a domain."""

    id: VolumeId
    target: str  # its name in the machine: vda
    path: str  # of the file or device; "" if it is neither
    format: str
    boot: bool
    shared: bool
    strange: str  # why it is not opened; "" if it is

    @property
    def definition(self) -> DiskDefinition:
        """What the openings want to know of it."""
        return DiskDefinition(Path(self.path), self.id, self.target, self.format, self.boot, self.shared)


@dataclass(frozen=True, slots=True)
class Machine:
    """A domain, stopped or running."""

    uuid: str
    name: str
    project: str  # that its metadata says; "" if it does not
    tags: tuple[tuple[str, str], ...]  # key and value, that its metadata says
    memory: int  # MiB
    cpus: int
    architecture: str
    disks: tuple[MachineDisk, ...]  # boot disk first
    has_nvram: bool  # it has UEFI variables
    nvram: str  # path of what holds them; "" if it is not told: libvirt chooses firmware and place when it starts
    has_tpm: bool  # an emulated one, whose state libvirt keeps

    def disk(self, target: str) -> MachineDisk | None:
        return next((disk for disk in self.disks if disk.target == target), None)


def read_machine(text: str) -> Machine:
    """Read a domain's XML.  Raises Damaged: it is none."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise Damaged("a domain's XML cannot be read", detail=str(error)) from error
    uuid_, name = root.findtext("uuid", ""), root.findtext("name", "")
    if root.tag != "domain" or not uuid_ or not name:
        raise Damaged(f"a domain's XML holds a <{root.tag}> with name {name!r} and UUID {uuid_!r}")
    said = root.find(f"metadata/{{{METADATA}}}server")
    kind = root.find("os/type")
    return Machine(
        uuid=uuid_, name=name, project="" if said is None else said.get("project", ""), tags=_tags(said),
        memory=_memory(root.find("memory")), cpus=int(root.findtext("vcpu", "0")),
        architecture="x86_64" if kind is None else kind.get("arch", "x86_64"), disks=_disks(root, uuid_),
        has_nvram=root.find("os/nvram") is not None or root.find("os[@firmware='efi']") is not None,
        nvram=root.findtext("os/nvram", "").strip() or _nvram_source(root),
        has_tpm=root.find("devices/tpm/backend[@type='emulator']") is not None,
    )  # fmt: skip


def _tags(said: ET.Element | None) -> tuple[tuple[str, str], ...]:
    """Return what `<tag key='' value=''/>` say; virsh puts what is inside the element into no namespace."""
    if said is None:
        return ()
    found = [each for each in said if each.tag in ("tag", f"{{{METADATA}}}tag")]
    return tuple((each.get("key", ""), each.get("value", "")) for each in found)


def _memory(element: ET.Element | None) -> int:
    if element is None:
        return 0
    return int(element.text or "0") * _UNITS.get(element.get("unit", "KiB"), 1024) // 2**20


def _nvram_source(root: ET.Element) -> str:
    source = root.find("os/nvram/source")
    return "" if source is None else source.get("file", "") or source.get("dev", "")


def _disks(root: ET.Element, domain: str) -> tuple[MachineDisk, ...]:
    found = [each for each in root.findall("devices/disk") if each.get("device", "disk") in ("disk", "lun")]
    serials = [each.findtext("serial", "") for each in found]
    boot = _boot_target(found)
    disks = []
    for each, serial in zip(found, serials, strict=True):
        target = _attribute(each, "target", "dev")
        shared = each.find("shareable") is not None
        path = _attribute(each, "source", "file") or _attribute(each, "source", "dev")
        word = f"serial/{serial}" if serial and serials.count(serial) == 1 else f"target/{target}"
        key = f"shared/{path}" if shared else f"{domain}/{word}"
        format = _attribute(each, "driver", "type") or "raw"
        disks.append(MachineDisk(VolumeId(str(uuid.uuid5(_NAMESPACE, key))), target, path, format, target == boot,
                                 shared, _strange(each, path, format)))
    return tuple(sorted(disks, key=lambda disk: not disk.boot))


def _boot_target(disks: list[ET.Element]) -> str:
    """Return the disk that is started from: the one of the lowest order, the first one where none has any."""
    ordered = sorted((int(_attribute(each, "boot", "order")), _attribute(each, "target", "dev"))
                     for each in disks if _attribute(each, "boot", "order"))
    if ordered:
        return ordered[0][1]
    return _attribute(disks[0], "target", "dev") if disks else ""


def _strange(disk: ET.Element, path: str, format: str) -> str:
    """Return why a disk is not opened; the text continues "disk … "."""
    kind = disk.get("type", "")
    if kind not in ("file", "block"):
        return f"is of type {kind!r}; files and block devices are opened"
    if not path:
        return "has no source"
    if format not in FORMATS:
        return f"has format {format!r}; {' and '.join(FORMATS)} are opened"
    if disk.find("encryption") is not None or disk.find("source/encryption") is not None:
        return "is encrypted by QEMU"
    if disk.find("source/slices") is not None:
        return "is a slice of its source"
    if disk.find("transient") is not None:
        return "is transient: what is written to it is forgotten when it stops"
    return ""


def _attribute(element: ET.Element, child: str, name: str) -> str:
    found = element.find(child)
    return "" if found is None else found.get(name, "")
