"""Beginning a backup job of libvirt's: `Beginning` does it for one domain, once."""

import math
import secrets
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from restead.domain.errors import InvalidRequest, Unavailable
from restead.drivers.disks.gateway import MAX_SOCKET_PATH
from restead.drivers.libvirt import checkpoints
from restead.drivers.libvirt.checkpoints import Checkpoint
from restead.drivers.libvirt.connection import is_error, library, translated
from restead.drivers.libvirt.freezing import freeze, thaw
from restead.drivers.libvirt.left_over import LeftOver, Note
from restead.drivers.libvirt.machine import Machine, MachineDisk
from restead.drivers.libvirt.options import LibvirtOptions
from restead.drivers.libvirt.scratch import make_scratch

THAW_LIMIT = 30.0  # seconds for which thawing is tried


@dataclass(frozen=True, slots=True)
class Begun:
    """A backup job that libvirt has begun."""

    at: datetime  # not later than the moment that it shows
    pause: timedelta  # for which file systems were frozen; without that, what the call took: the guest's is not longer
    frozen: bool
    checkpoint: str  # made at the moment; "" if none was
    known: Sequence[Checkpoint]  # there were before, oldest first; empty if nothing that is marked counts


class Beginning:
    """The backup job of some disks of a running domain."""

    def __init__(
        self, domain: Any, machine: Machine, note: Note, disks: Sequence[MachineDisk], folders: tuple[Path, Path],
        options: LibvirtOptions,
    ) -> None:  # fmt: skip
        """*folders*: for scratch images and for the socket.  Raises InvalidRequest: sockets get too long names."""
        self._domain = domain
        self._machine = machine
        self._note = note
        self._disks = disks
        self._folders = folders
        self._qemu_img = options.qemu_img
        self._limit = math.ceil(options.freeze_limit.total_seconds())
        self.socket = folders[1] / f"{secrets.token_hex(8)}.live"
        if (length := len(str(self.socket).encode())) > MAX_SOCKET_PATH:
            raise InvalidRequest(f"socket {self.socket} has {length} bytes, at most {MAX_SOCKET_PATH} are possible: "
                                 "set libvirt_scratch or runtime to a shorter folder")
        self._scratch = {disk.target: folders[0] / f"{machine.uuid}-{disk.target}.live" for disk in disks}
        self._left = LeftOver(str(self.socket), tuple(map(str, self._scratch.values())))

    def begin(self, sizes: Mapping[str, int]) -> Begun:
        """Let libvirt begin, the guest's file systems frozen if they can be; *sizes*: of the disks, by target.

        Raises:
            Unavailable: there is no space, libvirt does not begin it, or the file systems do not thaw.
        """
        if job_of(self._domain) is not None:  # libvirt would wait for it, and then say less
            raise Unavailable(f"server {self._machine.uuid} has a backup under way that is not ours: no other begins")
        for folder in self._folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note.write(self._left)
        for target, path in self._scratch.items():
            make_scratch(path, sizes[target], self._qemu_img)
        began = time.monotonic()
        with self._frozen() as frozen, translated(f"server {self._machine.uuid} cannot be backed up while it runs"):
            begun = self._job(frozen=frozen)
        self._write(checkpoint=begun.checkpoint)
        return replace(begun, pause=timedelta(seconds=time.monotonic() - began)) if frozen else begun

    @contextmanager
    def _frozen(self) -> Iterator[bool]:
        """Keep the file systems frozen; give whether they are."""
        frozen = bool(self._limit) and freeze(
            self._domain, self._limit, lambda is_frozen: self._write(frozen=is_frozen)
        )
        try:
            yield frozen
        finally:
            if frozen:
                thaw(self._domain, THAW_LIMIT)
                self._write(frozen=False)

    def _job(self, *, frozen: bool) -> Begun:
        """Let libvirt begin: with what was marked, without, without a checkpoint; the first of these that it does.

        Raises libvirt's error about the last of them.
        """
        libvirt = library()
        known = _usable(self._domain)
        marked = {disk.target for disk in self._disks if disk.format == "qcow2"} if known is not None else set()
        for since, with_checkpoint in _ways(known or (), possible=bool(marked)):
            name = checkpoints.new_name() if with_checkpoint else ""
            self._write(checkpoint=name)
            point = checkpoints.checkpoint_xml(name, self._machine, marked) if name else None
            at, began = datetime.now(UTC), time.monotonic()
            try:
                self._domain.backupBegin(self._xml(since), point, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
            except libvirt.libvirtError:
                if not name or not self._domain.isActive():
                    raise
                if since:  # a bitmap that they need is lost or was cut short: then none of them counts any more
                    checkpoints.forget(self._domain, self._machine, [each.name for each in since], self._qemu_img)
                continue
            return Begun(at, timedelta(seconds=time.monotonic() - began), frozen, name, since)
        raise AssertionError("the last way returns or raises")

    def _xml(self, known: Sequence[Checkpoint]) -> str:
        root = ET.Element("domainbackup", mode="pull")
        ET.SubElement(root, "server", transport="unix", socket=str(self.socket))
        inside = ET.SubElement(root, "disks")
        for disk in self._disks:
            oldest = next((each.name for each in known if disk.target in each.targets), "")
            since = {"backupmode": "incremental", "incremental": oldest} if oldest else {"backupmode": "full"}
            each = ET.SubElement(inside, "disk", {"name": disk.target, "backup": "yes", "type": "file", **since})
            ET.SubElement(each, "driver", type="qcow2")
            ET.SubElement(each, "scratch", file=str(self._scratch[disk.target]))
        return ET.tostring(root, encoding="unicode")

    def _write(self, **changes: Any) -> None:
        self._left = replace(self._left, **changes)
        self._note.write(self._left)


def job_of(domain: Any) -> str | None:
    """Return the socket of the backup job that is under way, "" if it has none; None if there is no job."""
    libvirt = library()
    try:
        text = domain.backupGetXMLDesc()
    except libvirt.libvirtError as error:
        if is_error(error, "VIR_ERR_NO_DOMAIN_BACKUP", "VIR_ERR_OPERATION_INVALID"):
            return None
        raise
    server = ET.fromstring(text).find("server")
    return "" if server is None else server.get("socket", "")


def _ways(known: Sequence[Checkpoint], *, possible: bool) -> Iterator[tuple[Sequence[Checkpoint], bool]]:
    """Yield what to build on, and whether to make a checkpoint, best first."""
    if possible and known:
        yield known, True
    if possible:
        yield (), True
    yield (), False


def _usable(domain: Any) -> Sequence[Checkpoint] | None:
    """Return the checkpoints that count, None if none can be made: with snapshots a disk may go back unmarked."""
    libvirt = library()
    try:
        return None if domain.snapshotNum(0) else checkpoints.ours(domain)
    except libvirt.libvirtError as error:
        if is_error(error, "VIR_ERR_NO_SUPPORT"):
            return None
        raise
