"""An empty qcow2 image on a block device, made where there is nothing else, and taken away again."""

import os
import shlex

from restead.domain.errors import InvalidRequest
from restead.drivers.disks.backing import backing_of
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.holding import held_to_write, translated
from restead.drivers.disks.looks import looks_like
from restead.drivers.disks.qcow2 import empty_image

_PIECE = 4 << 20  # bytes


def lacks_image(disk: DiskDefinition) -> bool:
    """Tell whether the disk is to be an image on a device that does not begin as one.  Raises Unavailable."""
    if disk.format != "qcow2":
        return False
    with translated(disk):
        backing = backing_of(disk.path)
    return backing.is_device and looks_like(backing) != "qcow2"


def make_image(disk: DiskDefinition, size: int, guard: Guard) -> int:
    """Make an image of *size* bytes that holds nothing on a device that is all zero; return the bytes it takes.

    Raises:
        InvalidRequest: anything stands on the device, or it is too small; nothing was written.
        Unavailable: it cannot be opened, read or written.
    """
    with held_to_write(disk, guard) as held, translated(disk):
        image = empty_image(size)
        if len(image) > held.size:
            raise InvalidRequest(f"{disk.path} has {held.size} bytes, an empty qcow2 image of {size} takes "
                                 f"{len(image)}")
        if (at := _first_byte(held.fd, held.size)) < held.size:
            raise InvalidRequest(
                f"{disk.path} is no qcow2 image and holds other data, at byte {at}: nothing is overwritten. If nobody "
                f"needs that, make an image: qemu-img create -f qcow2 {shlex.quote(str(disk.path))} {size}"
            )
        _write(held.fd, image)
        return len(image)


def unmake_image(disk: DiskDefinition, length: int, guard: Guard) -> None:
    """Make that many bytes at the device's begin zero again.  Raises Unavailable."""
    with held_to_write(disk, guard) as held, translated(disk):
        _write(held.fd, bytes(length))


def _first_byte(fd: int, size: int) -> int:
    """Return where the first byte is that is not zero; *size* if none is."""
    zeroes = bytes(_PIECE)
    for at in range(0, size, _PIECE):
        piece = os.pread(fd, _PIECE, at)
        if piece != zeroes[: len(piece)]:
            return at + len(piece) - len(piece.lstrip(b"\0"))
    return size


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.pwrite(fd, view, len(data) - len(view)) :]
    os.fsync(fd)
