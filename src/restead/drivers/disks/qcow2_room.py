"""The room that a qcow2 image has on a block device, by its own tables (QEMU, docs/interop/qcow2.txt).

An image in a file grows with it; on a device it ends where that ends.  So what a write will take of it can be counted
before: a cluster for each cluster of the disk that has none of its own, one for each table that is not there yet, and
those that count them.  What is counted is the least that is needed: who is refused would surely have found no room.

And the other way round: what the tables say to be behind the device's end is lost, and QEMU reads zeroes there.
"""

import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import VolumeId
from restead.drivers.disks.coarse import Stretch

# Magic, version, backing file's place and name's length, bits of a cluster, size, encryption, first level's entries
# and place, place and clusters of the table of counts; then, from version 3 on, features and bits of a count.
_HEADER = struct.Struct(">4sIQIIQIIQQI")
_FEATURES, _ORDER = struct.Struct(">Q"), struct.Struct(">I")
_FEATURES_AT, _ORDER_AT, _LENGTH = 72, 96, 104
_SUBCLUSTERS = 1 << 4  # of the incompatible features: entries of the second level are twice as long

_PLACE = 0x00FF_FFFF_FFFF_FE00  # bits of an entry
_OWN, _COMPRESSED, _ZERO = 1 << 63, 1 << 62, 1
_MOST_TABLE = 32 << 20  # bytes of a table that QEMU opens


@dataclass(frozen=True, slots=True)
class _Tables:
    cluster: int  # bytes
    first_level: "array[int]"
    counts: "array[int]"  # places of the blocks of counts
    count_bits: int
    wide: bool  # entries of the second level have 16 bytes

    @property
    def per_table(self) -> int:
        """Clusters that a table of the second level speaks of."""
        return self.cluster // (16 if self.wide else 8)

    @property
    def per_block(self) -> int:
        """Clusters that a block of counts counts."""
        return self.cluster * 8 // self.count_bits


class DeviceRoom:
    """The room of an image on an open device of *size* bytes, as its tables are on it now."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def require(self, id: VolumeId, stretches: Iterable[Stretch]) -> None:
        """Return if these stretches of the disk, in order, may find room for other data than they hold.

        Raises:
            InvalidRequest: they surely do not.
            ValueError, OSError: the tables cannot be read.
        """
        tables = _tables(self._fd)
        needed, room = self._needed(tables, stretches), self._room(tables)
        if needed > room:
            raise InvalidRequest(
                f"disk {id} is a qcow2 image on a device of {self.size} bytes, in which {room * tables.cluster} bytes "
                f"are free; at least {needed * tables.cluster} are needed: make the device larger",
                code=Code.TARGET_TOO_SMALL,
            )

    def reach(self) -> int:
        """Return up to where the disk's data stands, if not all of that is on the device; 0 if it is.

        Raises:
            ValueError, OSError: the tables cannot be read.
        """
        tables = _tables(self._fd)
        first = self.size // tables.cluster  # that is not wholly on the device
        blocks = range(first // tables.per_block, len(tables.counts))
        if not any(self._used(tables, index, first - index * tables.per_block, tables.per_block) for index in blocks):
            return 0  # nothing is counted there: no need to look at all that the disk has
        end = max((self._end_of(tables, each & _PLACE) for each in tables.first_level), default=0)
        return end if end > self.size else 0

    def _room(self, tables: _Tables) -> int:
        """Return how many clusters can be taken, besides those that would count them."""
        clusters, free = self.size // tables.cluster, 0
        for index in range(-(-clusters // tables.per_block)):
            here = min(tables.per_block, clusters - index * tables.per_block)
            counted = index < len(tables.counts) and tables.counts[index] & _PLACE
            free += here - (self._used(tables, index, 0, here) if counted else 1)
        return free

    def _used(self, tables: _Tables, index: int, start: int, stop: int) -> int:
        """Return how many of a block's clusters from number *start* to *stop* are used."""
        place = tables.counts[index] & _PLACE
        if not place:
            return 0
        return _not_zero(_read(self._fd, place, tables.cluster), tables.count_bits, max(0, start), stop)

    def _needed(self, tables: _Tables, stretches: Iterable[Stretch]) -> int:
        needed, table, entries, done = 0, -1, array("Q"), 0
        for number, first, stop in _by_table(tables, stretches):
            if number != table:
                entry = tables.first_level[number] if number < len(tables.first_level) else 0
                needed += not entry & _OWN
                entries = self._entries(tables, entry & _PLACE)
                table, done = number, 0
            # What is compressed is passed over: what it takes elsewhere, it gives back here.
            first, done = max(first, done), max(done, stop)
            here = max(0, stop - first)
            needed += sum(not each & (_OWN | _COMPRESSED) for each in entries[first:stop]) if entries else here
        return needed

    def _entries(self, tables: _Tables, place: int) -> "array[int]":
        """Return the entries of a table of the second level, none if there is no such table."""
        if not place:
            return array("Q")
        entries = _numbers(_read(self._fd, place, tables.cluster))
        return entries[::2] if tables.wide else entries

    def _end_of(self, tables: _Tables, place: int) -> int:
        """Return the end of what stands last, of a table of the second level and the data that it names."""
        where = (1 << (70 - (tables.cluster.bit_length() - 1))) - 1  # bits that tell the place of what is compressed
        packed = last = 0
        for each in self._entries(tables, place):
            if each & _COMPRESSED:
                packed = max(packed, (each & where) + 1)
            elif each & _PLACE and not each & _ZERO:
                last = max(last, each & _PLACE)
        # Of compressed data the first byte has to be there, of a cluster with subclusters too: they may be short.
        return max(packed, place and place + tables.cluster, last and last + (1 if tables.wide else tables.cluster))


def _by_table(tables: _Tables, stretches: Iterable[Stretch]) -> Iterator[tuple[int, int, int]]:
    """Yield (number of the table, first, stop) of its entries that the stretches touch."""
    for offset, length in stretches:
        at, end = offset // tables.cluster, -(-(offset + length) // tables.cluster)
        while at < end:
            number, first = divmod(at, tables.per_table)
            stop = min(tables.per_table, first + end - at)
            yield number, first, stop
            at += stop - first


def _tables(fd: int) -> _Tables:
    header = os.pread(fd, _LENGTH, 0).ljust(_LENGTH, b"\0")
    _, version, _, _, bits, _, _, entries, first_at, counts_at, clusters = _HEADER.unpack_from(header)
    order = _ORDER.unpack_from(header, _ORDER_AT)[0] if version > 2 else 4
    features = _FEATURES.unpack_from(header, _FEATURES_AT)[0] if version > 2 else 0
    if not 9 <= bits <= 21 or order > 6 or entries * 8 > _MOST_TABLE or clusters << bits > _MOST_TABLE:
        raise ValueError("has qcow2 tables that cannot be: see what qemu-img check says")
    return _Tables(
        1 << bits, _numbers(_read(fd, first_at, entries * 8)),
        _numbers(_read(fd, counts_at, clusters << bits)), 1 << order, wide=bool(features & _SUBCLUSTERS),
    )  # fmt: skip


def _read(fd: int, offset: int, length: int) -> bytes:
    """Return those bytes; behind the device's end there are zeroes, as QEMU reads them."""
    return os.pread(fd, length, offset).ljust(length, b"\0")


def _numbers(data: bytes) -> "array[int]":
    found = array("Q", data)
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _not_zero(block: bytes, bits: int, start: int, stop: int) -> int:
    """Return how many of the counts in a block, from number *start* to *stop*, are not zero."""
    if bits < 8:  # the lowest bits of a byte are the first
        per, mask = 8 // bits, (1 << bits) - 1
        return sum(1 for at in range(start, stop) if block[at // per] >> at % per * bits & mask)
    numbers = array({8: "B", 16: "H", 32: "I", 64: "Q"}[bits], block)[start:stop]
    return len(numbers) - numbers.count(0)
