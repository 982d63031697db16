"""The images driver in a folder of its own, as the conformance suites want it."""

import os
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.conformance.cloud import PROJECT
from tests.lab.microguest import make_system_disk

from restead.domain.ids import ProjectId, ServerId, VolumeId
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


class ImagesCloud:
    """Servers with image files in *folder*; `close` stops those that run."""

    def __init__(self, folder: Path, runtime: Path, power: Power, options: ImagesOptions | None = None) -> None:
        self.folder = folder
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
            disks.append(DiskDefinition(path))
        self.driver.add(ServerDefinition(
            name, project, tuple(disks), server_id, self.power,
            power_command=self.command if self.power is Power.COMMAND else None, memory=16,
        ))  # fmt: skip
        return self.driver.server(project, server_id)

    def bytes_of(self, server: Server, volume_id: VolumeId) -> bytes:
        volume = server.volume(volume_id)
        assert volume is not None
        return Path(volume.location).read_bytes()

    def overwrite(self, server: Server, volume_id: VolumeId, offset: int, data: bytes) -> None:
        volume = server.volume(volume_id)
        assert volume is not None
        with Path(volume.location).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def allocated(self, server: Server, volume_id: VolumeId) -> int:
        volume = server.volume(volume_id)
        assert volume is not None
        return Path(volume.location).stat().st_blocks * 512

    def path_of(self, server: Server, number: int = 0) -> Path:
        return Path(server.volumes[number].location)

    def close(self) -> None:
        for definition in self.driver.definitions():
            self.driver.stop(definition.project, definition.id, grace=timedelta())
