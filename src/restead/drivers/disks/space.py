"""The space of a stretch of an open file or device, apart from what it holds: kept, allocated, given back.

A file system may say that it cannot do one of these; then it is done by writing zeroes where that comes to the same,
and left where nothing but space is lost by leaving it.
"""

import os
from collections.abc import Iterable, Iterator

from restead.drivers.disks.rawio import PAGE, RawIo
from restead.drivers.disks.zeroes import KEEP_SIZE, PUNCH_HOLE, REFUSALS, fallocate, write_zeroes

_ZERO_RANGE = 0x10  # linux/falloc.h; for files and for block devices, which write zeroes and unmap nothing
_WRITTEN = 128 << 10  # bytes up to which writing zeroes is cheaper than changing the map of the file's extents
_PIECE = 64 << 20  # bytes reserved in one call
_LAST_PIECE = 256 << 10  # the same where the space may end: a part of one piece may then stay allocated


def blank(fd: int, raw: RawIo, offset: int, length: int) -> None:
    """Make that stretch read as zeroes without giving its space back.  Raises OSError."""
    start, end = _whole_pages(offset, length)
    if end - start < _WRITTEN:
        write_zeroes(raw, offset, length)
        return
    write_zeroes(raw, offset, start - offset)
    try:
        fallocate(fd, _ZERO_RANGE | KEEP_SIZE, start, end - start)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        write_zeroes(raw, start, end - start)
    write_zeroes(raw, end, offset + length - end)


def reserve_holes(fd: int, raw: RawIo, holes: Iterable[tuple[int, int]]) -> None:
    """Allocate those stretches (offset, length) of a file, which hold nothing.

    Raises:
        OSError: there is not enough space (or another error).  What surely became allocated by this call was given
            back, all but a part of the last 256 KiB.
    """
    new: list[tuple[int, int]] = []
    try:
        for hole, whole in holes:
            for at, length in _pieces(fd, hole, hole + whole):
                before = os.fstat(fd).st_blocks
                _allocate(fd, raw, at, length)
                if (os.fstat(fd).st_blocks - before) * 512 >= length:  # else some of it was allocated before
                    new.append((at, length))
    except OSError:
        for at, length in new:
            give_back(fd, at, length)
        raise


def give_back(fd: int, offset: int, length: int) -> None:
    """Free the whole pages of a stretch that is zero, if the disk can.  Raises OSError."""
    start, end = _whole_pages(offset, length)
    if start >= end:
        return
    try:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, start, end - start)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise


def _pieces(fd: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at < end:
        free = os.fstatvfs(fd).f_bavail * os.fstatvfs(fd).f_frsize
        length = min(_PIECE if free > 2 * _PIECE else _LAST_PIECE, end - at)
        yield at, length
        at += length


def _allocate(fd: int, raw: RawIo, offset: int, length: int) -> None:
    try:
        fallocate(fd, KEEP_SIZE, offset, length)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        write_zeroes(raw, offset, length)  # it is a hole: what it reads as does not change


def _whole_pages(offset: int, length: int) -> tuple[int, int]:
    return -(-offset // PAGE) * PAGE, (offset + length) // PAGE * PAGE
