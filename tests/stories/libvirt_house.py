"""The house of `live_house.py` over domains of a libvirtd of its own."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.lab.domains import libvirtd, qemu_of
from tests.stories.live_house import LiveHouse

from restead.domain.server import Server
from restead.drivers.libvirt.connection import Connection


class LibvirtHouse(LiveHouse):
    """A house whose servers are domains.  `close` ends them, and the daemon."""

    def __init__(
        self, folder: Path, *, format: str = "raw", devices: bool = False, chunk_size: int = 4096, **options: object
    ) -> None:
        """*options*: of the driver."""
        self._options = options
        super().__init__(folder, format=format, devices=devices, chunk_size=chunk_size)

    def _cloud_in(self, folder: Path) -> Any:
        from tests.drivers.libvirt.cloud import LibvirtCloud  # which skips where libvirt-python is missing

        uri = self._left.enter_context(libvirtd())
        connection = Connection(uri)
        self._left.callback(connection.close)
        return LibvirtCloud(folder, self.runtime, connection, self._options, format=self.format, devices=self._devices)

    def kill_machine(self, server: Server) -> None:
        os.kill(qemu_of(server.id), signal.SIGKILL)

    def serial_log(self, server: Server) -> Path:
        return Path(self.machines.serial_of(server.id))

    def left_in(self, server: Server) -> list[str]:
        checkpoints = [each.getName() for each in self.machines.domain(server).listAllCheckpoints()]
        return [*checkpoints, *self.machines.left_over(server)]
