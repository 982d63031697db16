"""The dirty bitmaps that a qcow2 image holds, by its own tables (QEMU, docs/interop/qcow2.txt), and what they tell."""

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from restead.drivers.disks.bitmap_rules import Found, believed, since
from restead.drivers.disks.coarse import Stretch, coarsely
from restead.drivers.disks.qcow2 import MAGIC

_VERSION_AT, _AUTOCLEAR_AT, _LENGTH_AT = 4, 88, 100
_BITMAPS_ARE_RIGHT = 1  # of the autoclear features: cleared by whoever writes and knows no bitmaps
_EXTENSION = struct.Struct(">II")  # kind, length
_BITMAPS = 0x23852875
_DIRECTORY = struct.Struct(">IIQQ")  # how many, 0, length of the directory, where it is
_ENTRY = struct.Struct(">QIIBBHI")  # its table, that one's length, flags, type, granularity, lengths of name and extra
_IN_USE, _AUTO = 1, 2
_MOST_EXTENSIONS, _MOST_DIRECTORY = 64, 1 << 20


class StoredBitmaps:
    """What the bitmaps of an image tell of where it was written; *read* returns what one of that name holds."""

    def __init__(self, names: Sequence[str], size: int, read: Callable[[str], Sequence[Stretch]]) -> None:
        self._names = names
        self._size = size
        self._read = read

    def since(self, generation: str) -> list[Stretch] | None:
        """Return what was written to since that generation, None if they do not tell."""
        names = since(self._names, self._size, generation)
        return None if names is None else coarsely(map(self._read, names), self._size)


@dataclass(frozen=True, slots=True)
class _Table:
    length: int  # bytes
    at: int
    count: int


def stored_bitmaps(fd: int) -> tuple[str, ...]:
    """Return the names of our bitmaps in an image that nobody writes to: those that are believed, oldest first."""
    try:
        return believed(_found(fd))
    except (OSError, struct.error, UnicodeDecodeError, ValueError):  # then none is believed
        return ()


def _found(fd: int) -> list[Found]:
    table = _table(fd)
    if table is None:
        return []
    data, at, found = os.pread(fd, table.length, table.at), 0, []
    for _ in range(table.count):
        _, _, flags, _, _, name_length, extra = _ENTRY.unpack_from(data, at)
        start = at + _ENTRY.size + extra
        name = data[start : start + name_length].decode()
        found.append(Found(name, recording=bool(flags & _AUTO), inconsistent=bool(flags & _IN_USE)))
        at = (start + name_length + 7) // 8 * 8
    return found


def _table(fd: int) -> _Table | None:
    """Return where the directory of bitmaps is, None if there is none that counts."""
    header = os.pread(fd, _LENGTH_AT + 4, 0)
    version = int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4])
    if not header.startswith(MAGIC) or version != 3 or len(header) < _LENGTH_AT + 4:
        return None
    if not int.from_bytes(header[_AUTOCLEAR_AT : _AUTOCLEAR_AT + 8]) & _BITMAPS_ARE_RIGHT:
        return None
    at = int.from_bytes(header[_LENGTH_AT : _LENGTH_AT + 4])
    for _ in range(_MOST_EXTENSIONS):
        kind, length = _EXTENSION.unpack(os.pread(fd, _EXTENSION.size, at))
        if kind == _BITMAPS and length == _DIRECTORY.size:
            count, _, size, place = _DIRECTORY.unpack(os.pread(fd, length, at + _EXTENSION.size))
            return _Table(size, place, count) if size <= _MOST_DIRECTORY else None
        if kind == 0:
            return None
        at += _EXTENSION.size + (length + 7) // 8 * 8
    return None
