"""A disk of a running guest as a live backup sees it, and the two ways to let QEMU keep what it held at a moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from restead.drivers.disks.bitmap_rules import PREFIX
from restead.drivers.images.qmp import Command, Monitor

DEVICES = "/machine/peripheral"  # where QEMU has the guest's devices


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that is to be kept as it is at a moment."""

    number: int  # in the order of the command line
    size: int  # bytes
    scratch: Path  # a file for what the guest overwrites

    @property
    def node(self) -> str:
        """QEMU's name of it."""
        return f"disk{self.number}"

    @property
    def scratch_node(self) -> str:
        return f"{PREFIX}scratch{self.number}"


class Way(Protocol):
    """How QEMU keeps what disks held at a moment."""

    def space(self, size: int) -> int:
        """Return the bytes of a scratch file that have to be reserved for a disk of *size* bytes."""
        ...

    def prepare(self, monitor: Monitor, disks: Sequence[Disk]) -> None:
        """Open the scratch files, which are as large as their disks; nothing is kept yet.  Raises NoAnswer."""
        ...

    def parts(self, disks: Sequence[Disk]) -> list[Mapping[str, object]]:
        """Return what belongs into the transaction that is the moment."""
        ...

    def commands(self, disks: Sequence[Disk]) -> list[Command]:
        """Return what is done right behind it, while the guest stands still."""
        ...

    def node(self, monitor: Monitor, disk: Disk) -> str:
        """Return the name of what shows the disk as it was.  Raises NoAnswer."""
        ...


def export_of(number: int) -> str:
    """Return the name under which what the disk of that number held is served."""
    return f"{PREFIX}{number}"


def devices_in(monitor: Monitor) -> set[str]:
    """Return the names of the devices that are plugged in.  Raises NoAnswer."""
    return {one["name"] for one in monitor.ask("qom-list", path=DEVICES)}
