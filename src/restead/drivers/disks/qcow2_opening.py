"""Opening a qcow2 disk: held as a raw one is, looked at, and served by a `qemu-nbd` of its own."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from restead.domain.errors import Unavailable
from restead.drivers.disks.backing import backing_of, open_backing, size_of
from restead.drivers.disks.coarse import Stretch, coarsely
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.gateway import Gateway
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.holding import Held, held_to_read, held_to_write, translated
from restead.drivers.disks.opening import open_direct
from restead.drivers.disks.qcow2 import Image, read_image
from restead.drivers.disks.qcow2_bitmaps import StoredBitmaps, stored_bitmaps
from restead.drivers.disks.qcow2_room import DeviceRoom, data_behind
from restead.drivers.disks.rawio import PAGE
from restead.drivers.disks.served import ServedSource, ServedTarget
from restead.drivers.disks.strangers import Strangers
from restead.drivers.nbd import NbdClient


@contextmanager
def open_qcow2_source(
    disk: DiskDefinition, guard: Guard, gateway: Gateway, *, direct: bool
) -> Iterator[ServedSource]:
    """Open a disk for reading.

    Raises:
        Unavailable: as `held_to_read`; it is no image that is opened; qemu-nbd is missing or does not open it.
    """
    with held_to_read(disk, guard) as held:
        image, past = _image_of(held), direct and _can_be_direct(held, os.O_RDONLY)
        with gateway.served(disk.id, held.fd, write=False, direct=past) as client:
            _check_served(disk, image, client)
            bitmaps = StoredBitmaps(stored_bitmaps(held.fd), image.size, partial(_dirty, gateway, held))
            yield ServedSource(disk.id, client, held.fd, bitmaps, _room_of(held))


@contextmanager
def open_qcow2_target(
    disk: DiskDefinition, guard: Guard, gateway: Gateway, *, direct: bool
) -> Iterator[ServedTarget]:
    """Open a disk for writing, for us alone.

    Raises:
        Unavailable: as `held_to_write`; it is no image that is opened; qemu-nbd is missing or does not open it.
    """
    with held_to_write(disk, guard) as held:
        image, can = _image_of(held), _can_be_direct(held, os.O_RDWR)
        # Before it is opened for writing: from then on they count as in use.
        dirty = {name: _dirty(gateway, held, name) for name in stored_bitmaps(held.fd)}

        @contextmanager
        def open_again() -> Iterator[NbdClient]:
            if not can:
                os.posix_fadvise(held.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with gateway.served(disk.id, held.fd, write=False, direct=can) as reader:
                _check_served(disk, image, reader)
                yield reader

        with gateway.served(disk.id, held.fd, write=True, direct=direct and can) as client:
            _check_served(disk, image, client)
            if client.read_only:
                raise Unavailable(f"disk {disk.id} is served read-only")
            with closing(Strangers(held.fd)) as strangers:
                bitmaps = StoredBitmaps(tuple(dirty), image.size, dirty.__getitem__)
                target = ServedTarget(disk.id, client, held.fd, bitmaps, _room_of(held), open_again=open_again,
                                      changed=lambda: held.changed(size=False), strangers=strangers.seen)
                with closing(target):
                    yield target


def _dirty(gateway: Gateway, held: Held, name: str) -> list[Stretch]:
    """Return what a bitmap of the image says was written to."""
    with gateway.served(held.disk.id, held.fd, write=False, direct=False, bitmap=name) as client:
        return coarsely([client.dirty()], client.size)


def require_image(disk: DiskDefinition) -> None:
    """Return if the disk is an image that may be opened.  Raises Unavailable."""
    try:
        with translated(disk):
            size_of_image(disk)
    except ValueError as error:
        raise Unavailable(f"disk {disk.id} {error}") from error


def size_of_image(disk: DiskDefinition) -> int:
    """Return the bytes of the disk that a machine sees.

    Raises:
        OSError: it cannot be read, or is neither a file nor a device.
        ValueError: it is no image that is opened, as `read_image` says.
    """
    fd = open_backing(backing_of(disk.path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        return read_image(fd).size
    finally:
        os.close(fd)


def require_whole(disk: DiskDefinition) -> None:
    """Return if an image ends where it should, as far as is written there.  Raises Unavailable."""
    with translated(disk):
        fd = open_backing(backing_of(disk.path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            _require_end(disk, fd)
        finally:
            os.close(fd)


def _image_of(held: Held) -> Image:
    try:
        with translated(held.disk):
            image = read_image(held.fd)
            _require_end(held.disk, held.fd)
            return image
    except ValueError as error:
        raise Unavailable(f"disk {held.disk.id} {error}") from error


def _room_of(held: Held) -> DeviceRoom | None:
    return DeviceRoom(held.fd, held.size) if held.backing.is_device else None


def _require_end(disk: DiskDefinition, fd: int) -> None:
    """Raise Unavailable if QEMU would read zeroes where there was data; OSError."""
    size = size_of(fd)
    try:
        lost = data_behind(fd, size)
    except ValueError as error:
        raise Unavailable(f"disk {disk.id} {error}") from error
    if lost:
        raise Unavailable(f"disk {disk.id} is a qcow2 image that has data at byte {lost} and was cut at {size}: "
                          "what is lost would be zeroes in the backup (see what qemu-img check says)")


def _can_be_direct(held: Held, flags: int) -> bool:
    fd = open_direct(held, flags) if held.size >= PAGE else None
    if fd is None:
        return False
    os.close(fd)
    return True


def _check_served(disk: DiskDefinition, image: Image, client: NbdClient) -> None:
    if client.size != image.size:
        raise Unavailable(f"disk {disk.id} holds {image.size} bytes, {client.size} are served")
