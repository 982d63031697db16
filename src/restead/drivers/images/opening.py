"""Opening a disk so that nobody else writes to it, or not at all.

Every opening goes the same way: resolve the path once, ask the guard, open exactly what was found, take the image
locks, ask the kernel for other writers.  Whatever speaks against it is an Unavailable that names the disk.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar

from restead.domain.errors import Unavailable
from restead.drivers.images.backing import Backing, backing_of, open_backing, size_of
from restead.drivers.images.definition import DiskDefinition
from restead.drivers.images.disks import DiskSource, DiskTarget
from restead.drivers.images.guard import Guard
from restead.drivers.images.locks import InUse, lock_for_reading, lock_for_writing, refuse_open_writers
from restead.drivers.images.rawio import PAGE, Buffered, Direct, PastCaches, RawIo
from restead.drivers.images.strangers import Strangers

# Seconds.  Between fork and exec a child of ours still has our descriptors, and of two who open at once both give way:
# so the first refusal is not believed.
_PATIENCE = 0.5

Result = TypeVar("Result")


@contextmanager
def open_source(disk: DiskDefinition, guard: Guard, *, direct: bool) -> Iterator[DiskSource]:
    """Open a disk for reading; while it is open no QEMU can start writing to it.

    Raises:
        Unavailable: it is not there, in use, or cannot be locked; at closing: it was changed while it was open, so
            what was read is not what it held at one moment.
    """
    backing = _unused_backing(disk, guard)
    fd = _patiently(disk, lambda: _open_to_read(backing))
    try:
        with _translated(disk):
            os.fsync(fd)  # a disk whose last writes cannot be brought to it is not worth a backup
            size, before = size_of(fd), _mark_of(fd)
        with _raw(disk, backing, fd, size, os.O_RDONLY, direct=direct) as raw:
            yield DiskSource(disk.id, fd, raw, size, is_device=backing.is_device)
        with _translated(disk):
            after = _mark_of(fd)
        if after != before:
            raise Unavailable(f"disk {disk.id} was changed while it was read: size and times of change were "
                              f"{before}, are {after}")
    finally:
        os.close(fd)


@contextmanager
def open_target(disk: DiskDefinition, guard: Guard, *, direct: bool) -> Iterator[DiskTarget]:
    """Open a disk for writing, for us alone; while it is open no QEMU can start on it, nor read it.

    Raises:
        Unavailable: it is not there, in use, or cannot be locked.
    """
    backing = _unused_backing(disk, guard)
    fd = _patiently(disk, lambda: _open_to_write(backing))
    try:
        with _translated(disk):
            size = size_of(fd)
        with (
            _raw(disk, backing, fd, size, os.O_RDWR, direct=direct) as raw,
            _past_caches(disk, backing, fd, size) as past,
            closing(Strangers(fd)) as strangers,
        ):
            changed = partial(_changed, disk, backing, fd, size)
            yield DiskTarget(disk.id, fd, raw, size, is_device=backing.is_device, past=past, changed=changed,
                             strangers=strangers.seen)
    finally:
        os.close(fd)


def require_unused(disk: DiskDefinition, guard: Guard) -> None:
    """Return if this machine does not use the disk itself.  Raises Unavailable."""
    _unused_backing(disk, guard)


def _unused_backing(disk: DiskDefinition, guard: Guard) -> Backing:
    with _translated(disk):
        backing = backing_of(disk.path)
    if use := guard.use_of(backing):
        raise Unavailable(f"disk {disk.id} {use} on this machine: it is not touched", detail=str(backing.path))
    return backing


def _open_to_read(backing: Backing) -> int:
    if backing.is_device:
        # Nobody mounts or swaps to it, in whatever namespace; given back at once, other readers are welcome.
        os.close(open_backing(backing, os.O_RDONLY | os.O_EXCL))
    fd = open_backing(backing, os.O_RDONLY)
    try:
        lock_for_reading(fd)
        if not backing.is_device:
            refuse_open_writers(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_to_write(backing: Backing) -> int:
    if backing.is_device:
        fd = open_backing(backing, os.O_RDWR | os.O_EXCL)
    else:
        # Asked before we have it open for writing ourselves; whoever opens it later meets our locks, if he looks.
        probe = open_backing(backing, os.O_RDONLY)
        try:
            refuse_open_writers(probe)
        finally:
            os.close(probe)
        fd = open_backing(backing, os.O_RDWR)
    try:
        lock_for_writing(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _patiently(disk: DiskDefinition, do: Callable[[], Result]) -> Result:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return do()
        except InUse as error:
            if time.monotonic() > until:
                raise Unavailable(f"disk {disk.id} is in use: {error}", detail=str(disk.path)) from error
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise _translate(disk, error) from error
        time.sleep(0.02)


@contextmanager
def _raw(
    disk: DiskDefinition, backing: Backing, fd: int, size: int, flags: int, *, direct: bool
) -> Iterator[RawIo]:
    """Give the way to move bytes: past the page cache if that is asked for and the disk can do it."""
    with _translated(disk):
        direct_fd = _open_direct(backing, flags) if direct and size % PAGE == 0 else None
    if direct_fd is None:
        yield Buffered(fd)
        return
    try:
        yield Direct(direct_fd)
    finally:
        os.close(direct_fd)


@contextmanager
def _past_caches(disk: DiskDefinition, backing: Backing, fd: int, size: int) -> Iterator[PastCaches]:
    """Give the way to read what the medium holds, however the disk is read and written otherwise."""
    with _translated(disk):
        direct_fd = _open_direct(backing, os.O_RDONLY) if size >= PAGE else None
    if direct_fd is None:
        yield PastCaches(fd, None, size)
        return
    try:
        yield PastCaches(fd, Direct(direct_fd), size)
    finally:
        os.close(direct_fd)


def _open_direct(backing: Backing, flags: int) -> int | None:
    try:
        fd = open_backing(backing, flags | os.O_DIRECT)
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


def _changed(disk: DiskDefinition, backing: Backing, fd: int, size: int) -> str:
    """Return why the open descriptor is not the server's disk any more, "" if it is.

    Somebody may move another file in its place, remove it or cut it: what we wrote would go nowhere, and a restore
    that called that success would have restored nothing.
    """
    try:
        found = backing_of(disk.path)
    except OSError as error:
        return f"was removed ({error.strerror or 'it is no disk any more'})"
    if found.key != backing.key:
        return "was replaced by another"
    left = size_of(fd)
    return "" if left == size else f"went from {size} to {left} bytes"


def _mark_of(fd: int) -> tuple[int, int, int]:
    """Return what every write to a file changes: its size in bytes and its times of change in nanoseconds.

    Programs put the first time back (`rsync --times`, `touch -r`); nobody can put back the second.
    """
    status = os.fstat(fd)
    return size_of(fd), status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def _translated(disk: DiskDefinition) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _translate(disk, error) from error


def _translate(disk: DiskDefinition, error: OSError) -> Unavailable:
    reason = error.strerror or "it is not what it was, or no disk"
    return Unavailable(f"disk {disk.id} cannot be opened: {reason}", detail=f"{disk.path}: {error}")
