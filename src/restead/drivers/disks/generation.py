"""What a file holds, told apart by what the kernel notes of every write to it.

A write, a truncation, a mapping that becomes dirty: each sets a file's time of change, which no program can put back.
So a file whose device, number, size and times are the same holds the same bytes, under three conditions:

- nobody has it open for writing at the first moment (the openings in this room see to it), since a page that
  was mapped and dirty before can be written again without a note;
- the same boot: a power cut can keep data and lose the note of it, which is written later;
- a local file system that keeps time: elsewhere another machine may write, and a cache may answer; and tmpfs notes
  nothing of what is written to a mapped page that was read before.

The kernel's clock for this goes in steps of up to 10 ms, and a file system with small inodes (ext2 to ext4 of 128
bytes) keeps whole seconds only: so a file that was just written is waited for.
"""

import fcntl
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})
_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION (linux/fs.h), of 64-bit machines
_STEP = 50_000_000  # nanoseconds: more than the steps in which any kernel notes time
_SECOND = 1_000_000_000
_MOST_STEPS = 4


def generation_of(fd: int) -> str:
    """Return a name for what the regular file holds now, "" if a later write might not change it."""
    try:
        return _waited_for(fd)
    except OSError:  # the kernel does not say: then nothing can be relied on
        return ""


def changed_since(fd: int, generation: str) -> Sequence[tuple[int, int]] | None:
    """Return nothing if the regular file is what it was in that generation, None if it may have changed anywhere."""
    try:
        return () if is_of(fd, generation) else None
    except OSError:
        return None


def _waited_for(fd: int) -> str:
    if _file_system_of(fd) not in _LOCAL:
        return ""
    for _ in range(_MOST_STEPS):
        status = os.fstat(fd)
        age = time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns)
        # A file system that keeps whole seconds notes the same for every write in one of them.
        step = _STEP if status.st_ctime_ns % _SECOND else _SECOND + _STEP
        if age >= step:
            return _name(status)
        if age < 0:  # the clock was put back: it may come to the same time again
            return ""
        time.sleep((step - age) / 1e9)
    return ""  # somebody is writing to it


def identity_of(fd: int) -> str:
    """Return what tells the open file or device from every other on this machine, in this boot."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return f"{_boot()} device {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return f"{_boot()} file {os.major(status.st_dev)}:{os.minor(status.st_dev)} {status.st_ino} {_version(fd)}"


def is_another(fd: int, identity: str) -> bool:
    """Tell whether the open file or device is surely not the one that had that identity.

    Devices get their numbers anew in each boot.  What stays is that a file is one, and its own number and version where
    its file system keeps them on a disk of this machine.
    """
    then, now = identity.split(" "), identity_of(fd).split(" ")
    if then[0] == now[0] or then[1:2] != now[1:2]:
        return then != now
    return now[1] == "file" and _file_system_of(fd) in _LOCAL and then[3:] != now[3:]


def _version(fd: int) -> int:
    """Return what tells a file from one that had its number and was removed; 0 where there is no such thing."""
    buffer = bytearray(8)
    try:
        fcntl.ioctl(fd, _GET_VERSION, buffer)
    except OSError:
        return 0
    return int.from_bytes(buffer[:4], sys.byteorder)


def is_of(fd: int, generation: str) -> bool:
    """Tell whether the regular file holds what it held when it had that name."""
    return generation != "" and _name(os.fstat(fd)) == generation


def _name(status: os.stat_result) -> str:
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return " ".join([_boot(), *map(str, numbers)])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _file_system_of(fd: int) -> str:
    """Return the type of the file system that the file is on, "" if it cannot be found out."""
    number = os.fstat(fd).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if left.split(" ")[2] == wanted:
            return right.split(" ")[0]
    return ""
