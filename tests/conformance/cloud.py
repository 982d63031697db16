"""What the suites for `Servers` and `Volumes` need to know of the cloud they test."""

from collections.abc import Sequence
from typing import Protocol

from restead.domain.ids import ProjectId, VolumeId
from restead.domain.server import Server
from restead.ports import Servers, Volumes

MIB = 1 << 20
PROJECT = ProjectId("p-one")
OTHER_PROJECT = ProjectId("p-other")


class Cloud(Protocol):
    """A cloud under test, with the means to make servers in it and to look at their disks behind its back."""

    servers: Servers
    volumes: Volumes

    def make(
        self, sizes: Sequence[int], name: str = "web-1", project: ProjectId = PROJECT, *, boots: bool = False
    ) -> Server:
        """Make a stopped server, its disks all zero, the first one the boot disk; describe it.

        With *boots* the boot disk holds something that boots and obeys the power button (at least 4 MiB).
        """
        ...

    def bytes_of(self, server: Server, volume_id: VolumeId) -> bytes:
        """Return what a disk holds, read without the driver."""
        ...

    def overwrite(self, server: Server, volume_id: VolumeId, offset: int, data: bytes) -> None:
        """Write to a disk without the driver, whoever has it open."""
        ...

    def allocated(self, server: Server, volume_id: VolumeId) -> int:
        """Return the bytes of space that a disk takes, found out without the driver."""
        ...
