"""The command line of a server's QEMU: what a definition means as a machine.  Pure."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.images.accel import Accel
from restead.drivers.images.definition import ServerDefinition

AGENT = "agent"  # what the channel of the guest's agent is called
_MEMORY = 1024  # MiB, where the definition states none
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the things of a server's QEMU are."""

    pidfile: Path
    serial: Path  # log of the first serial line
    errors: Path  # what QEMU says on standard error
    socket: Path  # QMP; at most 107 bytes, as the next two
    agent: Path  # where the guest's agent is heard
    exports: Path  # where QEMU serves the disks of a live backup
    live: Path  # what a live backup leaves if it does not come to its end


def command_line(
    program: str, accel: Accel, definition: ServerDefinition, devices: frozenset[Path], places: Places
) -> list[str]:
    """Return the command that starts the server, paused; *devices* are those disk paths that are block devices."""
    words = [
        program, "-S", "-nodefaults", "-display", "none", "-sandbox", _SANDBOX,
        "-name", f"guest={definition.id}",
        "-machine", "pc", "-accel", accel.value, "-cpu", "max",
        "-m", str(definition.memory or _MEMORY), "-smp", str(definition.cpus or 1),
        "-pidfile", str(places.pidfile),
        "-chardev", f"file,id=serial,path={_escaped(places.serial)},append=on", "-serial", "chardev:serial",
        "-chardev", f"socket,id=qmp,path={_escaped(places.socket)},server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
    ]  # fmt: skip
    if _is_uuid(definition.id):
        words += ["-uuid", definition.id]
    for number, disk in enumerate(definition.boot_first):
        words += _disk(number, disk, "host_device" if disk.path in devices else "file")
    return words + _agent(places)


def _disk(number: int, disk: DiskDefinition, driver: str) -> list[str]:
    node: dict[str, object] = {
        "driver": disk.format, "node-name": f"disk{number}", "discard": "unmap",
        "file": {"driver": driver, "filename": str(disk.path), "locking": "on", "discard": "unmap"},
    }  # fmt: skip
    if disk.format == "qcow2":
        node["backing"] = None  # whatever the image says
    # Trouble with a disk pauses the guest instead of feeding it errors.  The serial number is cut as virtio cuts it.
    device = (f"virtio-blk-pci,drive=disk{number},id=device{number},bootindex={number},serial={disk.id[:20]},"
              f"rerror=stop,werror=stop,share-rw={'on' if disk.shared else 'off'}")
    return ["-blockdev", json.dumps(node), "-device", device]


def _agent(places: Places) -> list[str]:
    """Return the channel of the guest's agent; behind the disks, whose places on the bus stay what they were."""
    return [
        "-device", "virtio-serial-pci,id=serial",
        "-chardev", f"socket,id={AGENT},path={_escaped(places.agent)},server=on,wait=off",
        "-device", f"virtserialport,chardev={AGENT},name=org.qemu.guest_agent.0",
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # QEMU's way to write a comma inside a value


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
