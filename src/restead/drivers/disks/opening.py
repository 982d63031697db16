"""Opening a raw disk to read or write it, and finding out how its bytes can be moved."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from restead.drivers.disks.backing import open_backing
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.holding import Held, held_to_read, held_to_write, translated
from restead.drivers.disks.raw import DiskSource, DiskTarget
from restead.drivers.disks.rawio import PAGE, Buffered, Direct, PastCaches, RawIo
from restead.drivers.disks.strangers import Strangers


@contextmanager
def open_source(disk: DiskDefinition, guard: Guard, *, direct: bool) -> Iterator[DiskSource]:
    """Open a disk for reading.  Raises as `held_to_read`."""
    with (
        held_to_read(disk, guard) as held,
        _raw(held, os.O_RDONLY, direct=direct) as raw,
        _past_caches(held) as past,
    ):
        yield DiskSource(disk.id, held.fd, raw, held.size, is_device=held.backing.is_device, past=past)


@contextmanager
def open_target(disk: DiskDefinition, guard: Guard, *, direct: bool) -> Iterator[DiskTarget]:
    """Open a disk for writing, for us alone.  Raises as `held_to_write`."""
    with (
        held_to_write(disk, guard) as held,
        _raw(held, os.O_RDWR, direct=direct) as raw,
        _past_caches(held) as past,
        closing(Strangers(held.fd)) as strangers,
    ):
        is_device = held.backing.is_device
        yield DiskTarget(disk.id, held.fd, raw, held.size, is_device=is_device, past=past, changed=held.changed,
                         strangers=strangers.seen)


def open_direct(held: Held, flags: int) -> int | None:
    """Open it once more, past the page cache; None if its file system cannot do that.  Raises Unavailable."""
    with translated(held.disk):
        return _open_direct(held, flags)


@contextmanager
def _raw(held: Held, flags: int, *, direct: bool) -> Iterator[RawIo]:
    """Give the way to move bytes: past the page cache if that is asked for and the disk can do it."""
    direct_fd = open_direct(held, flags) if direct and held.size % PAGE == 0 else None
    if direct_fd is None:
        yield Buffered(held.fd)
        return
    try:
        yield Direct(direct_fd)
    finally:
        os.close(direct_fd)


@contextmanager
def _past_caches(held: Held) -> Iterator[PastCaches]:
    """Give the way to read what the medium holds, however the disk is read and written otherwise."""
    direct_fd = open_direct(held, os.O_RDONLY) if held.size >= PAGE else None
    if direct_fd is None:
        yield PastCaches(held.fd, None, held.size)
        return
    try:
        yield PastCaches(held.fd, Direct(direct_fd), held.size)
    finally:
        os.close(direct_fd)


def _open_direct(held: Held, flags: int) -> int | None:
    try:
        fd = open_backing(held.backing, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system has no O_DIRECT
            return None
        raise
    try:
        Direct(fd).read(0, memoryview(bytearray(PAGE)))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # it wants more than pages
            return None
        raise
    return fd
