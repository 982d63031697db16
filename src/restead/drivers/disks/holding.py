"""Holding a disk so that nobody else writes to it, or not at all.

Every opening, whatever the disk's format, goes the same way: resolve the path once, ask the guard, open exactly what
was found, take the image locks, ask the kernel for other writers.  Whatever speaks against it is an Unavailable that
names the disk.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from restead.domain.errors import Unavailable
from restead.drivers.disks.backing import Backing, backing_of, open_backing, size_of
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.locks import InUse, lock_for_reading, lock_for_writing, refuse_open_writers

# Seconds.  Between fork and exec a child of ours still has our descriptors, and of two who open at once both give way:
# so the first refusal is not believed.
_PATIENCE = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Held:
    """A disk's file or device, open and locked."""

    disk: DiskDefinition
    backing: Backing
    fd: int  # without O_DIRECT; closed when it is let go
    size: int  # bytes of the file or device

    def changed(self, *, size: bool = True) -> str:
        """Return why what is open is not the server's disk any more, "" if it is.

        Somebody may move another file in its place, remove it or cut it: what we wrote would go nowhere, and a restore
        that called that success would have restored nothing.  *size*: it must have kept its size.
        """
        try:
            found = backing_of(self.disk.path)
        except OSError as error:
            return f"was removed ({error.strerror or 'it is no disk any more'})"
        if found.key != self.backing.key:
            return "was replaced by another"
        left = size_of(self.fd)
        return "" if not size or left == self.size else f"went from {self.size} to {left} bytes"


@contextmanager
def held_to_read(disk: DiskDefinition, guard: Guard) -> Iterator[Held]:
    """Hold a disk for reading; while it is held no QEMU can start writing to it.

    Raises:
        Unavailable: it is not there, in use, or cannot be locked; at the end: it was changed meanwhile, so what was
            read is not what it held at one moment.
    """
    backing = _unused_backing(disk, guard)
    fd = _patiently(disk, lambda: _open_to_read(backing))
    try:
        with translated(disk):
            os.fsync(fd)  # a disk whose last writes cannot be brought to it is not worth a backup
            held, before = _held(disk, backing, fd), _mark_of(fd)
        yield held
        with translated(disk):
            after = _mark_of(fd)
        if after != before:
            raise Unavailable(f"disk {disk.id} was changed while it was read: size and times of change were "
                              f"{before}, are {after}")
    finally:
        os.close(fd)


@contextmanager
def held_to_write(disk: DiskDefinition, guard: Guard) -> Iterator[Held]:
    """Hold a disk for writing, for us alone; while it is held no QEMU can start on it, nor read it.

    Raises:
        Unavailable: it is not there, in use, or cannot be locked.
    """
    backing = _unused_backing(disk, guard)
    fd = _patiently(disk, lambda: _open_to_write(backing))
    try:
        with translated(disk):
            held = _held(disk, backing, fd)
        yield held
    finally:
        os.close(fd)


def require_unused(disk: DiskDefinition, guard: Guard) -> None:
    """Return if this machine does not use the disk itself.  Raises Unavailable."""
    _unused_backing(disk, guard)


def _held(disk: DiskDefinition, backing: Backing, fd: int) -> Held:
    size = size_of(fd)
    if size == 0:  # a device whose medium is gone, a file that was cut: its bytes are lost, and none are no backup
        raise Unavailable(f"disk {disk.id} holds 0 bytes", detail=str(disk.path))
    return Held(disk, backing, fd, size)


def _unused_backing(disk: DiskDefinition, guard: Guard) -> Backing:
    with translated(disk):
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


def _mark_of(fd: int) -> tuple[int, int, int]:
    """Return what every write to a file changes: its size in bytes and its times of change in nanoseconds.

    Programs put the first time back (`rsync --times`, `touch -r`); nobody can put back the second.
    """
    status = os.fstat(fd)
    return size_of(fd), status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def translated(disk: DiskDefinition) -> Iterator[None]:
    """Make an OSError an Unavailable that names the disk."""
    try:
        yield
    except OSError as error:
        raise _translate(disk, error) from error


def _translate(disk: DiskDefinition, error: OSError) -> Unavailable:
    reason = error.strerror or "it is not what it was, or no disk"
    return Unavailable(f"disk {disk.id} cannot be opened: {reason}", detail=f"{disk.path}: {error}")
