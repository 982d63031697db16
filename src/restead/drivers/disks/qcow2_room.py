"""What a qcow2 image's own tables tell of the place it has (QEMU, docs/interop/qcow2.txt): room, and data that is gone.

An image in a file grows with it; on a device it ends where that ends.  So what a write will take of it can be counted
before: a cluster for each cluster of the disk that has none of its own, one for each table that is not there yet, and
those that count them.  What is counted is the least that is needed: who is refused would surely have found no room.

And the other way round: what the tables say to be behind the end is lost, and QEMU reads zeroes there.
"""

import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import VolumeId
from restead.drivers.disks.backing import size_of
from restead.drivers.disks.coarse import Stretch
from restead.drivers.disks.qcow2 import read_header

_SUBCLUSTERS = 1 << 4  # of the incompatible features: entries of the second level are twice as long

_PLACE = 0x00FF_FFFF_FFFF_FE00  # bits of an entry
_OWN, _COMPRESSED, _ZERO = 1 << 63, 1 << 62, 1
_MOST_TABLE = 32 << 20  # bytes of a table that QEMU opens


@dataclass(frozen=True, slots=True)
class _Tables:
    """As they stand in an open image."""

    fd: int
    cluster: int  # bytes
    first_level: "array[int]"
    counts: "array[int]"  # places of the blocks of counts
    count_bits: int
    wide: bool  # entries of the second level have 16 bytes
    places: tuple[int, int]  # of the first level and of the table of counts

    @property
    def per_table(self) -> int:
        """Clusters that a table of the second level speaks of."""
        return self.cluster // (16 if self.wide else 8)

    @property
    def per_block(self) -> int:
        """Clusters that a block of counts counts."""
        return self.cluster * 8 // self.count_bits

    def entries(self, place: int) -> "array[int]":
        """Return the entries of a table of the second level, none if there is no such table."""
        if not place:
            return array("Q")
        entries = _numbers(_read(self.fd, place, self.cluster))
        return entries[::2] if self.wide else entries

    def used(self, index: int, start: int, stop: int) -> int:
        """Return how many of a block's clusters from number *start* to *stop* are used."""
        place = self.counts[index] & _PLACE
        if not place:
            return 0
        return _not_zero(_read(self.fd, place, self.cluster), self.count_bits, max(0, start), stop)


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
        needed, room = _needed(tables, stretches), self._room(tables)
        if needed > room:
            raise InvalidRequest(
                f"disk {id} is a qcow2 image on a device of {self.size} bytes, in which {room * tables.cluster} bytes "
                f"are free; at least {needed * tables.cluster} are needed: make the device larger",
                code=Code.TARGET_TOO_SMALL,
            )

    def _room(self, tables: _Tables) -> int:
        """Return how many clusters can be taken, besides those that would count them."""
        clusters, free = self.size // tables.cluster, 0
        for index in range(-(-clusters // tables.per_block)):
            here = min(tables.per_block, clusters - index * tables.per_block)
            counted = index < len(tables.counts) and tables.counts[index] & _PLACE
            free += here - (tables.used(index, 0, here) if counted else 1)
        return free


def data_behind(fd: int, size: int) -> int:
    """Return where the last of an image's data is, if that is behind the end of its file or device; else 0.

    *size*: its bytes before this was called; it may grow meanwhile.

    Raises:
        ValueError, OSError: the tables cannot be read.
    """
    tables = _tables(fd)
    last = max(*tables.places, *(each & _PLACE for each in tables.counts))
    if last < size and not _counts_behind(tables, size):
        return 0  # no need to look at all that the disk has
    last = max(last, *(_last_of(tables, each & _PLACE) for each in tables.first_level))
    return last if last >= size_of(fd) else 0


def _counts_behind(tables: _Tables, size: int) -> bool:
    """Tell whether any cluster behind that many bytes is counted as used."""
    first = size // tables.cluster
    blocks = range(first // tables.per_block, len(tables.counts))
    return any(tables.used(index, first - index * tables.per_block, tables.per_block) for index in blocks)


def _last_of(tables: _Tables, table: int) -> int:
    """Return where the last is of a table of the second level and the data that it names."""
    packed = (1 << (70 - (tables.cluster.bit_length() - 1))) - 1  # bits that tell the place of what is compressed
    last = table
    for each in tables.entries(table):
        if each & _COMPRESSED:
            last = max(last, each & packed)
        elif not each & _ZERO:
            last = max(last, each & _PLACE)
    return last


def _needed(tables: _Tables, stretches: Iterable[Stretch]) -> int:
    """Return the clusters that these stretches take and do not have."""
    needed, table, entries, done = 0, -1, array("Q"), 0
    for number, first, stop in _by_table(tables, stretches):
        if number != table:
            entry = tables.first_level[number] if number < len(tables.first_level) else 0
            needed += not entry & _OWN
            entries = tables.entries(entry & _PLACE)
            table, done = number, 0
        first, done = max(first, done), max(done, stop)
        here = max(0, stop - first)
        # What is compressed is passed over: what it takes elsewhere, it gives back here.
        needed += sum(not each & (_OWN | _COMPRESSED) for each in entries[first:stop]) if entries else here
    return needed


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
    header = read_header(fd)
    bits, order = header.cluster_bits, header.count_order
    (entries, first_at), (counts_at, clusters) = header.first_level, header.counts
    if not 9 <= bits <= 21 or order > 6 or entries * 8 > _MOST_TABLE or clusters << bits > _MOST_TABLE:
        raise ValueError("has qcow2 tables that cannot be: see what qemu-img check says")
    return _Tables(
        fd, 1 << bits, _numbers(_read(fd, first_at, entries * 8)),
        _numbers(_read(fd, counts_at, clusters << bits)), 1 << order, bool(header.features & _SUBCLUSTERS),
        (first_at, counts_at),
    )  # fmt: skip


def _read(fd: int, offset: int, length: int) -> bytes:
    """Return those bytes; behind the end there are zeroes, as QEMU reads them."""
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
