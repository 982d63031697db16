"""Files for what a guest overwrites while its backup is read.

When such a file finds no space, libvirt's way of backing up pauses the guest and not the backup.  So all that it may
ever take is allocated before: as much as the disk holds.
"""

import errno
import os
import subprocess
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.drivers.disks.environment import clean_environment
from restead.drivers.disks.zeroes import KEEP_SIZE, REFUSALS, fallocate

_TABLES = 4096  # a byte of the image's tables for so many of data, generously (qcow2: 8 + 2 bytes for each 64 KiB)
_BEGINNING = 4 << 20  # bytes of it before and between
_LIMIT = 60.0  # seconds


def make_scratch(path: Path, size: int, program: str) -> None:
    """Make an image for a disk of *size* bytes, all its space allocated.  Raises Unavailable: there is not enough."""
    command = [program, "create", "-q", "-f", "qcow2", str(path), str(size)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment(),
                              timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"scratch image cannot be made: {program}: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"scratch image cannot be made: {program} ended with status {done.returncode}",
                          detail=done.stderr.decode(errors="replace")[-2000:])
    _reserve(path, size + size // _TABLES + _BEGINNING)


def _reserve(path: Path, wanted: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fallocate(fd, KEEP_SIZE, 0, wanted)
    except OSError as error:
        free = os.fstatvfs(fd)
        there = free.f_bavail * free.f_frsize
        if error.errno in REFUSALS and there >= wanted:  # it cannot be reserved there, and nobody needs it now
            return
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, *REFUSALS):
            raise
        raise Unavailable(f"a live backup needs {wanted} bytes in {path.parent} for what the guest may overwrite "
                          f"meanwhile, {there} are free") from error
    finally:
        os.close(fd)
