"""What stands behind a disk's path right now: which file or device, and how large."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Backing:
    """A file or block device, by what it is and not by what it is called."""

    path: Path  # links resolved
    key: tuple[str, int, int]  # ("file", device, inode) or ("device", major, minor): equal keys are one disk

    @property
    def is_device(self) -> bool:
        return self.key[0] == "device"


def backing_of(path: Path) -> Backing:
    """Resolve *path* once and say what it is.

    Raises:
        OSError: it is not there, may not be looked at, or is neither a regular file nor a block device.
    """
    real = path.resolve(strict=True)
    return Backing(real, key_of(real.lstat(), real))


def key_of(status: os.stat_result, path: Path) -> tuple[str, int, int]:
    """Return the key of what was stat'ed as *path*."""
    if stat.S_ISREG(status.st_mode):
        return ("file", status.st_dev, status.st_ino)
    if stat.S_ISBLK(status.st_mode):
        return ("device", os.major(status.st_rdev), os.minor(status.st_rdev))
    raise OSError(f"{path} is neither a regular file nor a block device")


def open_backing(backing: Backing, flags: int) -> int:
    """Open exactly that file or device, or raise OSError: what was swapped in its place meanwhile is refused."""
    fd = os.open(backing.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = key_of(os.fstat(fd), backing.path)
        if found != backing.key:
            raise OSError(f"{backing.path} was {backing.key} when it was checked and is {found} now it is open")
    except BaseException:
        os.close(fd)
        raise
    return fd


def size_of(fd: int) -> int:
    """Return the bytes of an open file or block device."""
    return os.lseek(fd, 0, os.SEEK_END)  # a device's st_size is 0, its end is not (as BLKGETSIZE64)


def measure(backing: Backing) -> int:
    """Return its size in bytes now.  Raises OSError."""
    if not backing.is_device:
        return backing.path.lstat().st_size
    fd = open_backing(backing, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return size_of(fd)
    finally:
        os.close(fd)
