"""Domains of a libvirt connection, as the conformance suites want them."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cloud import PROJECT
from tests.drivers.image_files import ImageFiles, to_device, to_qcow2
from tests.lab.domains import domain_xml
from tests.lab.loops import LoopDevices
from tests.lab.microguest import make_system_disk

from restead.domain.ids import ProjectId, ServerId
from restead.domain.server import Server
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.drivers.libvirt.connection import Connection

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")


class LibvirtCloud(ImageFiles):
    """Domains with image files in *folder*; `close` takes them away."""

    def __init__(
        self,
        folder: Path,
        runtime: Path,
        connection: Connection,
        options: dict[str, object] | None = None,
        *,
        format: str = "raw",
        devices: bool = False,
    ) -> None:
        """*devices*: the disks are block devices, not files."""
        self.folder, self.runtime, self.uri, self.format = folder, runtime, connection.uri, format
        chosen = LibvirtOptions(connection.uri, **(options or {}))  # type: ignore[arg-type]
        self.driver = LibvirtDriver(folder / "data", runtime, chosen, connection=connection)
        self.servers = self.volumes = self.driver
        self.connection = connection.get()
        self.made: list[str] = []
        self.memory, self.firmware = 16, ""  # of domains that are defined from now on
        self.loops, self.devices = LoopDevices(), devices

    def make(
        self, sizes: Sequence[int], name: str = "web-1", project: ProjectId = PROJECT, *, boots: bool = False,
        mode: str = "H",
    ) -> Server:
        id = str(uuid.uuid4())
        disks = []
        for number, size in enumerate(sizes):
            path = self.folder / f"{id}-{number}.raw"
            if boots and number == 0:
                make_system_disk(path, "conformance", mode, size)
            else:
                path.touch()
                os.truncate(path, size)
            if self.format == "qcow2":
                path = to_qcow2(path)
            disks.append(to_device(path, self.loops) if self.devices else path)
        self.define(id, name, project, disks)
        return self.driver.server(project, ServerId(id))

    def define(
        self, id: str, name: str, project: str, disks: Sequence[Path], **more: object
    ) -> Any:
        self.made.append(id)
        more = {"format": self.format, "memory": self.memory, "firmware": self.firmware, **more}
        real = self.uri.startswith("qemu")
        return self.connection.defineXML(
            domain_xml(id, name, project, disks, self.serial_of(id), real=real, **more)  # type: ignore[arg-type]
        )

    def serial_of(self, id: str) -> Path:
        return self.folder / f"{id}.serial"

    def domain(self, server: Server) -> Any:
        return self.connection.lookupByUUIDString(server.id)

    def left_over(self, server: Server) -> list[str]:
        """Return what is there of live backups, but for checkpoints."""
        found = []
        try:
            found.append(self.domain(server).backupGetXMLDesc())
        except libvirt.libvirtError:
            pass
        folders = (self.folder / "data" / "scratch", self.runtime)
        found += [str(path) for folder in folders for path in folder.glob("*") if path.suffix != ".note"]
        return found + [path.read_text() for path in folders[0].glob("*.note") if path.stat().st_size]

    def close(self) -> None:
        try:
            self._undefine_all()
        finally:
            self.loops.close()

    def _undefine_all(self) -> None:
        for id in self.made:
            try:
                domain = self.connection.lookupByUUIDString(id)
            except libvirt.libvirtError:
                continue
            if domain.isActive():
                domain.destroy()
            if not self.uri.startswith("qemu"):
                domain.undefine()
                continue
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            )
