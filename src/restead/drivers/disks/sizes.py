"""How large a disk is now, as its server would see it."""

from restead.domain.errors import Unavailable
from restead.drivers.disks.backing import backing_of, measure
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.holding import translated
from restead.drivers.disks.qcow2_opening import size_of_image


def size_now(disk: DiskDefinition) -> int | None:
    """Return its bytes; None: it is not there, holds nothing (a device that lost its medium), or cannot be read."""
    try:
        return (size_of_image(disk) if disk.format == "qcow2" else measure(backing_of(disk.path))) or None
    except (OSError, ValueError):
        return None


def require_whole(disk: DiskDefinition, served: int) -> None:
    """Return if a raw disk is not shorter than what its running QEMU serves, which reads zeroes behind a disk's end.

    Raises Unavailable.
    """
    if disk.format != "raw":
        return
    with translated(disk):
        there = measure(backing_of(disk.path))
    if there < served:
        raise Unavailable(f"disk {disk.id} has {there} bytes and its running server believes {served}: what was cut "
                          "off would be zeroes in the backup")
