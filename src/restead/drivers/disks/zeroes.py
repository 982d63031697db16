"""Making a stretch of an open file or device read as zeroes, giving the space back where that is possible."""

import ctypes
import errno
import fcntl
import mmap
import os
import struct

from restead.drivers.disks.rawio import RawIo

PUNCH_HOLE, KEEP_SIZE = 0x02, 0x01  # linux/falloc.h
_BLKZEROOUT = 0x127F  # linux/fs.h: two 64-bit numbers, offset and length, in multiples of the logical sector
_BLKSSZGET = 0x1268
REFUSALS = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY)
_ZEROES = memoryview(mmap.mmap(-1, 1 << 20)).toreadonly()  # page-aligned, never written to

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def zero_file(fd: int, raw: RawIo, offset: int, length: int) -> None:
    """Punch a hole, or write zeroes where the file system has no holes.  Raises OSError."""
    try:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        write_zeroes(raw, offset, length)


def zero_device(fd: int, raw: RawIo, offset: int, length: int) -> None:
    """Let the device unmap or zero its sectors, or write zeroes where it cannot.  Raises OSError."""
    sector = struct.unpack("i", fcntl.ioctl(fd, _BLKSSZGET, struct.pack("i", 0)))[0]
    start, end = -(-offset // sector) * sector, (offset + length) // sector * sector
    if start >= end:
        write_zeroes(raw, offset, length)
        return
    write_zeroes(raw, offset, start - offset)
    try:
        _zero_sectors(fd, start, end - start)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        write_zeroes(raw, start, end - start)
    write_zeroes(raw, end, offset + length - end)


def write_zeroes(raw: RawIo, offset: int, length: int) -> None:
    """Write zeroes the plain way.  Raises OSError."""
    for at in range(offset, offset + length, len(_ZEROES)):
        raw.write(at, _ZEROES[: min(len(_ZEROES), offset + length - at)])


def _zero_sectors(fd: int, offset: int, length: int) -> None:
    try:
        # On a device: unmap, only if what is unmapped surely reads as zeroes.
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        fcntl.ioctl(fd, _BLKZEROOUT, struct.pack("QQ", offset, length))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Call fallocate(2), again where a signal came in between.  Raises OSError."""
    while _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
