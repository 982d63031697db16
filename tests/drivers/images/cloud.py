"""The images driver in a folder of its own, as the conformance suites want it."""

import os
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.conformance.cloud import PROJECT
from tests.drivers.image_files import ImageFiles, to_device, to_qcow2
from tests.lab.loops import LoopDevices
from tests.lab.microguest import make_system_disk

from restead.domain.ids import ProjectId, ServerId
from restead.domain.server import Server
from restead.drivers.images import Accel, DiskDefinition, ImagesDriver, ImagesOptions, Power, ServerDefinition

# A hypervisor in five lines: a server runs while there is a file of its name.
COMMAND = """#!/bin/sh
cd "$(dirname "$0")" || exit 2
case $1 in
start) touch "running-$2" ;;
stop) echo "$RESTEAD_GRACE_SECONDS" > grace; rm -f "running-$2" ;;
status) if [ -e "running-$2" ]; then echo running; else echo stopped; fi ;;
*) exit 2 ;;
esac
"""


class ImagesCloud(ImageFiles):
    """Servers with image files in *folder*; `close` stops those that run."""

    def __init__(
        self,
        folder: Path,
        runtime: Path,
        power: Power,
        options: ImagesOptions | None = None,
        *,
        format: str = "raw",
        qcow2: str = "compat=1.1",
        devices: bool = False,
    ) -> None:
        """*qcow2*: options of qemu-img for images of that format.  *devices*: the disks are block devices."""
        self.folder = folder
        self.loops, self.devices = LoopDevices(), devices
        self.format = format
        self.qcow2 = qcow2
        self.power = power
        self.options = options or ImagesOptions(accel=Accel.TCG)
        self.driver = ImagesDriver(folder / "data", runtime, self.options)
        self.servers = self.volumes = self.driver
        self.command = folder / "power"
        self.command.write_text(COMMAND)
        self.command.chmod(0o700)

    def make(
        self, sizes: Sequence[int], name: str = "web-1", project: ProjectId = PROJECT, *, boots: bool = False
    ) -> Server:
        server_id = ServerId(str(uuid.uuid4()))
        disks = []
        for number, size in enumerate(sizes):
            path = self.folder / f"{server_id}-{number}.raw"
            if boots and number == 0:
                make_system_disk(path, "conformance", "H", size)
            else:
                path.touch()
                os.truncate(path, size)
            if self.format == "qcow2":
                path = to_qcow2(path, self.qcow2)
            disks.append(DiskDefinition(to_device(path, self.loops) if self.devices else path, format=self.format))
        self.driver.add(ServerDefinition(
            name, project, tuple(disks), server_id, self.power,
            power_command=self.command if self.power is Power.COMMAND else None, memory=16,
        ))  # fmt: skip
        return self.driver.server(project, server_id)

    def path_of(self, server: Server, number: int = 0) -> Path:
        return Path(server.volumes[number].location)

    def close(self) -> None:
        try:
            for definition in self.driver.definitions():
                self.driver.stop(definition.project, definition.id, grace=timedelta())
        finally:
            self.loops.close()
