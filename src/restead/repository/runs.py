"""Sorted runs of index entries in local files, looked up without being loaded.

A file is blocks of 4 KiB, each with up to 52 entries sorted by name and a digest of its own.  Names are evenly
spread, so a name's place can be guessed from its first bytes: two or three reads find it in a file of any size,
and no filter or table has to be held in memory.  These files are a cache and no format: a block that is not what
was written is `BrokenRun`, and the whole cache is made again.
"""

import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from restead.repository.chunk import NAME_SIZE, Form
from restead.repository.pack import Place

_ENTRY = struct.Struct(">32s32sIIIB")  # name, pack, offset, sealed length, plain length, form
ENTRY_SIZE = _ENTRY.size
_BLOCK = 4096
_DIGEST = 32
_PER_BLOCK = (_BLOCK - _DIGEST - 2) // ENTRY_SIZE
_SPAN = 1 << 64
_KEPT = 256  # blocks: 1 MiB for each run


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
        name, pack, offset, length, plain, form = _ENTRY.unpack(record)
        return cls(name, Place(pack, offset, length, plain, Form(form)))


def write_run(path: Path, records: Iterable[bytes]) -> int:
    """Write sorted encoded entries to the new file *path* and return how many there were."""
    total = 0
    records = iter(records)
    with open(path, "xb", opener=_private) as file:
        while block := list(islice(records, _PER_BLOCK)):
            body = struct.pack(">H", len(block)) + b"".join(block)
            body += bytes(_BLOCK - _DIGEST - len(body))
            file.write(body + blake3(body).digest())
            total += len(block)
    return total


class Run:
    """One sorted file, open for looking up from any number of threads."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count  # entries
        self._blocks = -(-count // _PER_BLOCK)
        self._kept: dict[int, _Block] = {}  # checked already: all of a small run, little of a large one
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BrokenRun(f"{path} is gone") from error
        size = os.fstat(self._fd).st_size
        if size != self._blocks * _BLOCK:
            raise BrokenRun(f"{path} holds {size} bytes, expected {self._blocks * _BLOCK}")

    def __del__(self) -> None:
        # Whoever still looks something up holds a reference, so a number that is read from is never closed.
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def find(self, name: bytes) -> list[Place]:
        """Return every place that the run knows for *name*.  Raises BrokenRun."""
        at = self._first_block(name)
        found: list[Place] = []
        while at < self._blocks:
            block = self._read(at)
            here = bisect_left(range(block.count), name, key=block.name)
            while here < block.count and block.name(here) == name:
                found.append(Hint.decode(block.record(here)).place)
                here += 1
            if here < block.count:
                break
            at += 1  # a name with many places may go on in the next block
        return found

    def find_many(self, names: Iterable[bytes]) -> Iterator[tuple[bytes, Place]]:
        """Yield every place that the run knows for each of the sorted *names*.  Raises BrokenRun.

        Where one name was found the next one is near: its block is guessed from there, and mostly read once.
        """
        at, last, body = -1, b"", b""  # the block that the last name was looked up in, and its last name
        low = here = 0
        for name in names:
            if name > last or at < 0:
                at = self._next_block(name, low, last)
                if at >= self._blocks:
                    return
                block = self._read(at)
                body, last, low, here = block.body, block.name(block.count - 1), at + 1, 0
            if (found := body.find(name, here)) >= 0:
                here = found
                if (here - 2) % ENTRY_SIZE or name == last:
                    yield from ((name, place) for place in self.find(name))  # goes on in the next block, perhaps
                    continue
                while body.startswith(name, here):
                    yield name, Hint.decode(body[here : here + ENTRY_SIZE]).place
                    here += ENTRY_SIZE

    def _next_block(self, name: bytes, low: int, below: bytes) -> int:
        """Return the first block from *low* on whose last name is not below *name*; *below* is the name before it."""
        base = _number(below) if below else 0
        guess = low + (_number(name) - base) * (self._blocks - low) // max(_SPAN - base, 1)
        if low <= guess < self._blocks:
            block = self._read(guess)
            if block.name(0) < name <= block.name(block.count - 1):
                return guess
        return self._first_block(name, low, base)

    def records(self) -> Iterator[bytes]:
        """Yield all encoded entries in order.  Raises BrokenRun."""
        for at in range(self._blocks):
            block = self._read_anew(at)
            yield from map(block.record, range(block.count))

    def _first_block(self, name: bytes, low: int = 0, below: int = 0) -> int:
        """Return the first block whose last name is not below *name*; the number of blocks if there is none.

        It is not before *low*; *below*: the number of the last name before that.
        """
        high = self._blocks  # the answer is in low..high
        wanted, above = _number(name), _SPAN  # the names around low..high, as fractions of all names
        for attempt in range(2 * self._blocks.bit_length() + 2):
            if low >= high:
                break
            guess = low + (wanted - below) * (high - low) // max(above - below, 1) if attempt < 8 else (low + high) // 2
            guess = min(max(guess, low), high - 1)
            block = self._read(guess)
            if (last := block.name(block.count - 1)) < name:
                low, below = guess + 1, _number(last)
            elif (first := block.name(0)) < name:
                return guess
            else:
                high, above = guess, _number(first)
        return low

    def _read(self, at: int) -> "_Block":
        found = self._kept.get(at)
        if found is None:
            found = self._read_anew(at)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[at] = found
        return found

    def _read_anew(self, at: int) -> "_Block":
        block = os.pread(self._fd, _BLOCK, at * _BLOCK)
        body = block[:-_DIGEST]
        if len(block) != _BLOCK or blake3(body).digest() != block[-_DIGEST:]:
            raise BrokenRun(f"{self.path}: block {at} is not as it was written")
        return _Block(body)


class _Block:
    """The entries of one block, cut out only when they are asked for."""

    __slots__ = ("body", "count")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.count = int.from_bytes(body[:2], "big")  # at least one

    def record(self, at: int) -> bytes:
        start = 2 + at * ENTRY_SIZE
        return self.body[start : start + ENTRY_SIZE]

    def name(self, at: int) -> bytes:
        start = 2 + at * ENTRY_SIZE
        return self.body[start : start + NAME_SIZE]


def _number(name: bytes) -> int:
    return int.from_bytes(name[:8], "big")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
