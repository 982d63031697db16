"""How large a disk is now, as its server would see it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from restead.domain.errors import Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.disks.backing import backing_of, measure
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.holding import translated
from restead.drivers.disks.qcow2_opening import require_whole, size_of_image
from restead.ports import BlockSource


def size_now(disk: DiskDefinition) -> tuple[int, str]:
    """Return its bytes, and "".

    Or 0, and why: it is not there, holds nothing (a device that lost its medium), or cannot be read.
    """
    try:
        size = size_of_image(disk) if disk.format == "qcow2" else measure(backing_of(disk.path))
    except OSError as error:
        return 0, f"{disk.path}: {error.strerror or error}"
    except ValueError as error:
        return 0, f"{disk.path} {error}"
    return size, "" if size else f"{disk.path} holds nothing"


@contextmanager
def staying_whole(
    disks: Mapping[VolumeId, DiskDefinition], sources: Mapping[VolumeId, BlockSource]
) -> Iterator[None]:
    """See that disks are no shorter than what their running QEMU serves, before and after the block.

    QEMU reads zeroes behind a disk's end, and behind that of a device that an image is on.  Raises Unavailable.
    """
    _require_whole(disks, sources)
    yield
    _require_whole(disks, sources)


def _require_whole(disks: Mapping[VolumeId, DiskDefinition], sources: Mapping[VolumeId, BlockSource]) -> None:
    for id, disk in disks.items():
        if disk.format != "raw":
            require_whole(disk)
            continue
        with translated(disk):
            there = measure(backing_of(disk.path))
        if there < sources[id].size:
            raise Unavailable(f"disk {disk.id} has {there} bytes and its running server believes {sources[id].size}: "
                              "what was cut off would be zeroes in the backup")
