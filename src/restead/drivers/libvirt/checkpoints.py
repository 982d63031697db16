"""libvirt's checkpoints that are ours: since when each of them marks what the guest writes to a domain's qcow2 disks.

Ours are told by their names.  A generation is such a name and the disk's size: what the disk held when that checkpoint
was made.  What is marked since an older checkpoint than the one that is asked for holds all that is marked since that
one, so the oldest one serves for all: nobody has to know, before a backup begins, which of them the last one noted.
"""

import secrets
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from restead.drivers.disks.environment import clean_environment
from restead.drivers.libvirt.connection import is_error, library
from restead.drivers.libvirt.machine import Machine

_PREFIX = "restead-"
_WORD = "libvirt"  # first in each generation
_LIMIT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One of ours."""

    name: str
    targets: frozenset[str]  # disks that it marks


def new_name() -> str:
    return _PREFIX + secrets.token_hex(8)


def generation_of(name: str, size: int) -> str:
    return f"{_WORD} {name} {size}"


def name_in(generation: str, size: int | None = None) -> str:
    """Return the checkpoint that a generation names, "" if none, or if it is of a disk of another size."""
    words = generation.split(" ")
    if len(words) != 3 or words[0] != _WORD or not words[1].startswith(_PREFIX):
        return ""
    return words[1] if size is None or words[2] == str(size) else ""


def ours(domain: Any) -> list[Checkpoint]:
    """Return our checkpoints of the domain, oldest first.  Raises libvirt's error."""
    libvirt = library()
    try:
        # Each is made on the one before, so this order is that of time, whatever the clock did.
        every = domain.listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
    except libvirt.libvirtError as error:
        if is_error(error, "VIR_ERR_NO_SUPPORT"):
            return []
        raise
    return [_read(each) for each in every if each.getName().startswith(_PREFIX)]


def checkpoint_xml(name: str, machine: Machine, targets: Collection[str]) -> str:
    """Describe a checkpoint that marks these disks and no other."""
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    disks = ET.SubElement(root, "disks")
    for disk in machine.disks:
        ET.SubElement(disks, "disk", name=disk.target, checkpoint="bitmap" if disk.target in targets else "no")
    return ET.tostring(root, encoding="unicode")


def forget(domain: Any, machine: Machine, names: Sequence[str], qemu_img: str) -> None:
    """Let these checkpoints be gone, and the bitmaps in the images that belong to them.

    Where the bitmaps cannot go (the domain was just started, an image is gone) they stay: they take little room, and
    nothing believes them.  Raises libvirt's error.
    """
    libvirt = library()
    for name in reversed(names):
        try:
            checkpoint = domain.checkpointLookupByName(name)
        except libvirt.libvirtError as error:
            if is_error(error, "VIR_ERR_NO_DOMAIN_CHECKPOINT"):
                continue
            raise
        targets = _read(checkpoint).targets
        if not _deleted(domain, checkpoint):
            checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
            for disk in machine.disks:
                if disk.target in targets and disk.format == "qcow2" and not disk.strange:
                    _remove_bitmap(disk.path, name, qemu_img)


def _deleted(domain: Any, checkpoint: Any) -> bool:
    """Let libvirt delete it with its bitmaps; that takes a running domain, and bitmaps that are as they should be."""
    libvirt = library()
    if not domain.isActive():
        return False
    try:
        checkpoint.delete()
    except libvirt.libvirtError:
        return False
    return True


def _remove_bitmap(path: str, name: str, qemu_img: str) -> None:
    command = [qemu_img, "bitmap", "--remove", "-f", "qcow2", path, name]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment(),
                       timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired):  # it stays
        return


def _read(checkpoint: Any) -> Checkpoint:
    root = ET.fromstring(checkpoint.getXMLDesc(library().VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN))
    targets = {disk.get("name", "") for disk in root.findall("disks/disk") if disk.get("checkpoint") == "bitmap"}
    return Checkpoint(root.findtext("name", ""), frozenset(targets))
