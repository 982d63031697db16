"""Sorted runs of index entries in local files, looked up without being loaded.

A file is groups of up to 510 entries, sorted by name, and after them the *fence*: the first key of every group.  A
key is the first 8 bytes of a name.  A group is a block of 4 KiB with the keys of its entries, and up to 85 blocks of
six entries: most of a look-up is done in keys, which are a tenth of the bytes, and a sorted batch reads each block
of them once.  The fence is held in memory, thinned to 512 KiB at most.

These files are a cache and no format: every block ends in a check sum, one that is not what was written is
`BrokenRun`, and the whole cache is made again.
"""

import os
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from restead.repository.chunk import NAME_SIZE, Form
from restead.repository.pack import Place

_ENTRY = struct.Struct(">32s32sIIIB")  # name, pack, offset, sealed length, plain length, form
_PLACE = struct.Struct(">32sIIIB")  # the same without the name
ENTRY_SIZE = _ENTRY.size
_KEY = 8
_SUM = 4  # bytes of the check sum at the end of a block
_SUMMED = 0x2144DF1C  # CRC-32 of anything that its own CRC-32 follows, least byte first
_KEYS = 4096  # bytes of a block of keys
_PER_BLOCK = 6
_ENTRIES = _PER_BLOCK * ENTRY_SIZE + _SUM  # bytes of a block of entries: what reading one entry costs
_BLOCKS = (_KEYS - _SUM) // _KEY // _PER_BLOCK  # of entries in a group
_PER_GROUP = _BLOCKS * _PER_BLOCK
_GROUP = _KEYS + _BLOCKS * _ENTRIES
FENCE = 1 << 16  # keys that are held in memory for each run, at most; even
_KEPT = 256  # blocks of keys: 1 MiB for each run
_FORMS = {int(form): form for form in Form}


class BrokenRun(Exception):
    """A cache file is not as it was written."""


class Hint(NamedTuple):
    """What the index says: a name, and where its bytes are stored."""

    name: bytes
    place: Place

    def encode(self) -> bytes:
        return _ENTRY.pack(self.name, *self.place)

    @classmethod
    def decode(cls, record: bytes) -> "Hint":
        return cls(record[:NAME_SIZE], _place(record, 0))


def keys_of(names: Sequence[bytes]) -> "array[int]":
    """Return what these names are looked up by: their first bytes as numbers, in the same order."""
    numbers = array("Q", b"".join(names))[:: NAME_SIZE // _KEY]
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def merged(streams: Iterable[Iterator[list[bytes]]]) -> Iterator[list[bytes]]:
    """Yield the entries of sorted streams as one, again in lists.  Memory: one list of each.

    Sorting what is sorted in parts already is a merge, and many times as fast as one in Python.
    """
    none: list[bytes] = []
    heads = [(next(stream, none), stream) for stream in streams]
    while heads := [(head, stream) for head, stream in heads if head]:
        bound = min(head[-1] for head, _ in heads)
        part: list[bytes] = []
        for at, (head, stream) in enumerate(heads):
            cut = bisect_right(head, bound)
            part += head[:cut]
            heads[at] = head[cut:] or next(stream, none), stream
        part.sort()
        yield part


def write_run(path: Path, records: Iterable[bytes], *, fence_keys: int = FENCE) -> int:
    """Write sorted encoded entries to the new file *path* and return how many there were."""
    total, stride, fence = 0, 1, array("Q")
    records = iter(records)
    with open(path, "xb", opener=_private) as file:
        while group := list(islice(records, _PER_GROUP)):
            keys = keys_of([record[:NAME_SIZE] for record in group])
            if total // _PER_GROUP % stride == 0:
                if len(fence) == fence_keys:
                    fence, stride = fence[::2], 2 * stride
                fence.append(keys[0])
            file.write(_block(keys.tobytes(), _KEYS))
            for at in range(0, len(group), _PER_BLOCK):
                file.write(_block(b"".join(group[at : at + _PER_BLOCK]), _ENTRIES))
            total += len(group)
        file.write(_summed(fence.tobytes()))
    return total


class Run:
    """One sorted file, open for looking up from any number of threads."""

    def __init__(self, path: Path, count: int, *, fence_keys: int = FENCE) -> None:
        self.path = path
        self.count = count  # entries
        self._groups = -(-count // _PER_GROUP)
        self._stride = _stride(self._groups, fence_keys)
        self._kept: dict[int, memoryview] = {}  # keys that were checked: all of a small run, little of a large one
        self._last = (-1, b"")  # the block of entries that was read last, by its start
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BrokenRun(f"{path} is gone") from error
        self._fence = self._read_fence()

    def __del__(self) -> None:
        # Whoever still looks something up holds a reference, so a number that is read from is never closed.
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def find(self, name: bytes) -> list[Place]:
        """Return every place that the run knows for *name*.  Raises BrokenRun."""
        return [place for _, place in self.find_many([name], keys_of([name]))]

    def find_many(self, names: Sequence[bytes], keys: Sequence[int]) -> list[tuple[bytes, Place]]:
        """Return every place that the run knows for each of the sorted *names*, whose `keys_of` are *keys*.

        Raises BrokenRun.
        """
        found: list[tuple[bytes, Place]] = []
        group = at = below = 0  # keys below that stand in the group, or nowhere, if they stand not before it
        held: Sequence[int] = ()
        for name, key in zip(names, keys, strict=True) if self._groups else ():
            if key >= below:
                group, below = self._locate(key, group)
                held, at = self._keys(group), 0
            at = bisect_left(held, key, at)
            if at == len(held) or held[at] == key:
                self._gather(name, key, group, held, at, found)
        return found

    def lists(self) -> Iterator[list[bytes]]:
        """Yield all encoded entries in order, a group at a time.  Raises BrokenRun."""
        for group in range(self._groups):
            size, start = self._size(group), group * _GROUP + _KEYS
            blocks = -(-size // _PER_BLOCK)
            data = os.pread(self._fd, blocks * _ENTRIES, start)
            found: list[bytes] = []
            for at in range(blocks):
                block = data[at * _ENTRIES : (at + 1) * _ENTRIES]
                if crc32(block) != _SUMMED or len(block) != _ENTRIES:
                    raise self._broken(start + at * _ENTRIES)
                end = min(_PER_BLOCK, size - at * _PER_BLOCK) * ENTRY_SIZE
                found += [block[begin : begin + ENTRY_SIZE] for begin in range(0, end, ENTRY_SIZE)]
            yield found

    def records(self) -> Iterator[bytes]:
        """Yield all encoded entries in order.  Raises BrokenRun."""
        return chain.from_iterable(self.lists())

    def _gather(
        self, name: bytes, key: int, group: int, held: Sequence[int], at: int, found: list[tuple[bytes, Place]]
    ) -> None:
        """Add the places of *name*, which stands from entry *at* of *group* on, whose keys are *held*, or nowhere."""
        while True:
            while at < len(held):
                if held[at] != key:
                    return
                block = self._entries(group, at // _PER_BLOCK)
                begin = at % _PER_BLOCK * ENTRY_SIZE
                if block.startswith(name, begin):
                    found.append((name, _place(block, begin)))
                at += 1
            group, at = group + 1, 0  # a name with many places may go on there
            if group == self._groups:
                return
            held = self._keys(group)

    def _locate(self, key: int, low: int) -> tuple[int, int]:
        """Return the last group whose first key is below *key*, else the first one; and from which key on to ask anew.

        It is not before the group *low*.
        """
        at = max(bisect_left(self._fence, key, low // self._stride) - 1, 0)
        low, high = at * self._stride, min((at + 1) * self._stride, self._groups)
        below = self._fence[at + 1] if at + 1 < len(self._fence) else 1 << 64
        while high - low > 1:  # in a run of more than 30 million entries
            middle = (low + high) // 2
            if (first := self._keys(middle)[0]) < key:
                low = middle
            else:
                high, below = middle, first
        return low, below

    def _size(self, group: int) -> int:
        return min(_PER_GROUP, self.count - group * _PER_GROUP)

    def _keys(self, group: int) -> memoryview:
        found = self._kept.get(group)
        if found is None:
            block = self._read(group * _GROUP, _KEYS)
            found = memoryview(block)[: self._size(group) * _KEY].cast("Q")
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[group] = found
        return found

    def _entries(self, group: int, block: int) -> bytes:
        start = group * _GROUP + _KEYS + block * _ENTRIES
        last, found = self._last
        if last != start:
            found = self._read(start, _ENTRIES)
            self._last = start, found
        return found

    def _read(self, start: int, size: int) -> bytes:
        block = os.pread(self._fd, size, start)
        if crc32(block) != _SUMMED or len(block) != size:
            raise self._broken(start)
        return block

    def _broken(self, start: int) -> BrokenRun:
        return BrokenRun(f"{self.path}: the block at {start} is not as it was written")

    def _read_fence(self) -> "array[int]":
        keys = -(-self._groups // self._stride) if self._groups else 0
        blocks = -(-self.count // _PER_BLOCK)  # of entries: all groups but the last are full
        start, length = self._groups * _KEYS + blocks * _ENTRIES, keys * _KEY + _SUM
        size = os.fstat(self._fd).st_size
        if size != start + length:
            raise BrokenRun(f"{self.path} holds {size} bytes, expected {start + length}")
        fence = array("Q")
        fence.frombytes(self._read(start, length)[:-_SUM])
        return fence


def _stride(groups: int, fence_keys: int) -> int:
    """Return of how many groups the fence holds one key: as `write_run` thins it."""
    stride = 1
    while groups > fence_keys * stride:
        stride *= 2
    return stride


def _block(body: bytes, size: int) -> bytes:
    return _summed(body.ljust(size - _SUM, b"\0"))


def _summed(body: bytes) -> bytes:
    return body + crc32(body).to_bytes(_SUM, "little")


def _place(data: bytes, begin: int) -> Place:
    """Return the place in the encoded entry that begins there."""
    pack, offset, length, plain, form = _PLACE.unpack_from(data, begin + NAME_SIZE)
    return Place(pack, offset, length, plain, _FORMS[form])


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
