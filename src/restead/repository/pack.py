"""Packs: many sealed things in one immutable object.

    header (48 bytes) ‖ sealed things one after another ‖ sealed table of contents ‖ trailer (8 bytes)

The name of a pack is the BLAKE3 of all its bytes, so scrubbing needs no key.  The key is fresh for each pack
(the header's salt), the nonce is the offset at which a sealed thing begins, and the associated data say what
it is: nothing inside can be moved, swapped or taken for another kind.  docs/format.md has it byte by byte.
"""

import os
import struct
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from restead.domain.errors import Damaged, Unavailable
from restead.ports import BlobStore, ReadsIntoBuffers
from restead.repository.chunk import Form, Press
from restead.repository.seal import HEADER_SIZE, TAG_SIZE, Header, Kind, SealingKeys, derive_key, sealing_key

PACK_SIZE = 64 << 20  # bytes; a pack is closed by the thing that reaches it
PACK_THINGS = 16384  # a pack of tiny things is closed earlier: its table of contents is held in memory
TRAILER_SIZE = 8

_CONTENTS_NONCE = b"\xff" * 12  # no offset: those have eight leading zero bytes
_RECORD = struct.Struct(">32sIIIHBx")  # name, offset, sealed length, plain length, kind, form
_BOUND = struct.Struct(">HBxII32s")  # kind, form, offset, plain length, name
_TRAILER = struct.Struct(">II")  # offset and length of the sealed table of contents

_Cipher = tuple[AESGCM, bytes]  # what opens a pack, and what begins all that is bound to it
_Coming = Future[_Cipher]


class Place(NamedTuple):
    """Where a thing is stored."""

    pack: bytes  # BLAKE3 of the pack's bytes
    offset: int  # bytes from the start of the pack
    length: int  # sealed bytes, with the tag
    plain: int  # bytes when opened and decompressed
    form: Form

    def sensible(self, limit: int) -> bool:
        """Tell whether this can be the place of something of at most *limit* bytes."""
        return self.plain <= limit and TAG_SIZE <= self.length <= self.plain + TAG_SIZE


class Thing(NamedTuple):
    """A line of a table of contents."""

    name: bytes
    offset: int
    length: int
    plain: int
    kind: Kind
    form: Form


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one project's packs stand, and the keys to them."""

    store: BlobStore
    keys: SealingKeys
    repository_id: bytes  # 16 bytes
    tag: str

    @property
    def prefix(self) -> str:
        return f"packs/{self.tag}/"

    def object_name(self, pack: bytes) -> str:
        return self.prefix + pack.hex()


class PackWriter:
    """Seals things into packs, for one thread.

    The pack under construction is an unlinked file, so that a crash leaves nothing; it is hashed while it is
    written and put once, with its length known.
    """

    def __init__(self, shelf: Shelf, scratch: Path, press: Press) -> None:
        self._shelf = shelf
        self._scratch = scratch
        self._press = press
        self._sealed = bytearray()
        self._fd = -1
        self._contents: list[Thing] = []
        self.stored = 0  # bytes put into the store

    def add(self, kind: Kind, name: bytes, plain: bytes | memoryview) -> bool:
        """Add a thing to the pack under construction; tell whether the pack is now full."""
        if self._fd < 0:
            self._begin()
        form, body = self._press.press(plain)
        offset, length = self._offset, len(body) + TAG_SIZE
        out = self._room(length)
        bound = self._bound + _BOUND.pack(kind, form, offset, len(plain), name)
        self._cipher.encrypt_into(_nonce(offset), body, bound, out)
        self._write(out)
        self._contents.append(Thing(name, offset, length, len(plain), kind, form))
        return self._offset >= PACK_SIZE or len(self._contents) >= PACK_THINGS

    def finish(self) -> list[tuple[bytes, Place]]:
        """Put the pack and return what it holds, which is durable now.  Nothing happens if it is empty."""
        if self._fd < 0:
            return []
        contents = self._contents
        sealed = self._cipher.encrypt(
            _CONTENTS_NONCE, b"".join(map(_record, contents)), _bound_contents(self._bound, self._offset)
        )
        trailer = _TRAILER.pack(self._offset, len(sealed))
        self._write(sealed)
        self._write(trailer)
        pack = self._hash.digest()
        # False cannot mean another's pack: the salt is random.  It means that our own put went through before.
        self._shelf.store.put_file(self._shelf.object_name(pack), self._fd)
        self.stored += self._offset
        self.close()
        return [(thing.name, Place(pack, thing.offset, thing.length, thing.plain, thing.form)) for thing in contents]

    def close(self) -> None:
        """Forget the pack under construction, if there is one."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._contents = []

    def _begin(self) -> None:
        keys = self._shelf.keys
        header = Header.fresh(Kind.PACK, keys.newest)
        head = header.encode()
        self._cipher = AESGCM(derive_key(keys.sealing_keys[header.key_number], Kind.PACK, header.salt))
        self._bound = head + self._shelf.repository_id
        self._hash = blake3()
        self._offset = 0
        try:
            self._fd = unlinked_file(self._scratch)
        except OSError as error:
            raise Unavailable(f"no file to make a pack in: {error.strerror}", detail=str(self._scratch)) from error
        self._write(head)

    def _room(self, length: int) -> memoryview:
        if len(self._sealed) < length:
            self._sealed = bytearray(length)
        return memoryview(self._sealed)[:length]

    def _write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            at = f"{self._offset} bytes of a pack are there, {len(data)} more are wanted"
            raise Unavailable(f"no room to make packs in: {error.strerror} ({at})", detail=self._where()) from error
        self._offset += len(data)

    def _where(self) -> str:
        space = os.statvfs(self._scratch)
        return f"{self._scratch} has {space.f_bavail * space.f_frsize} bytes free"


class PackReader:
    """Opens what packs hold; any number of threads.

    Keeps the ciphers of the packs read last: making one costs a read of the pack's header.
    """

    _MOST = 256

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._into = shelf.store if isinstance(shelf.store, ReadsIntoBuffers) else None
        self._ciphers: OrderedDict[bytes, _Cipher] = OrderedDict()
        self._lock = Lock()
        self._coming: dict[bytes, _Coming] = {}  # headers that one thread reads, for all that need them meanwhile

    def read(self, pack: bytes, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the pack's bytes from *offset* on.  Raises NotFound; Damaged if it is too short."""
        name = self.shelf.object_name(pack)
        if self._into is not None:
            self._into.get_range_into(name, offset, buffer)
        else:
            buffer[:] = self.shelf.store.get_range(name, offset, len(buffer))

    def open_into(self, place: Place, kind: Kind, name: bytes, sealed: memoryview, out: memoryview) -> None:
        """Unseal one thing into *out*, `place.length - 16` bytes, still compressed if its form says so.

        Raises:
            NotFound: the pack is gone.
            Damaged: these are not the bytes that were sealed there under this name.
        """
        cipher, bound = self._cipher(place.pack)
        bound += _BOUND.pack(kind, place.form, place.offset, place.plain, name)
        try:
            cipher.decrypt_into(_nonce(place.offset), sealed, bound, out)
        except InvalidTag:
            where = f"bytes {place.offset} to {place.offset + place.length}"
            what = f"{kind.name.lower()} {name.hex()}"
            raise Damaged(f"{self.shelf.object_name(place.pack)} is damaged: {where} are not {what}") from None

    def contents(self, pack: bytes, size: int) -> list[Thing]:
        """Return the table of contents of a pack of *size* bytes.  Raises NotFound, Damaged."""
        name = self.shelf.object_name(pack)
        if size < HEADER_SIZE + TAG_SIZE + TRAILER_SIZE:
            raise Damaged(f"{name} holds {size} bytes, an empty pack has more")
        trailer = self.shelf.store.get_range(name, size - TRAILER_SIZE, TRAILER_SIZE)
        offset, length = _TRAILER.unpack(trailer)
        if offset < HEADER_SIZE or length < TAG_SIZE or offset + length + TRAILER_SIZE != size:
            raise Damaged(f"{name}: its trailer says contents at {offset} of {length} bytes, the pack holds {size}")
        cipher, bound = self._cipher(pack)
        sealed = self.shelf.store.get_range(name, offset, length)
        try:
            plain = cipher.decrypt(_CONTENTS_NONCE, sealed, _bound_contents(bound, offset))
        except InvalidTag:
            raise Damaged(f"{name} is damaged: its table of contents does not open") from None
        return [_thing(fields, name) for fields in _RECORD.iter_unpack(plain)]

    def _cipher(self, pack: bytes) -> _Cipher:
        with self._lock:
            if (found := self._ciphers.get(pack)) is not None:
                self._ciphers.move_to_end(pack)
                return found
            if first := (coming := self._coming.get(pack)) is None:
                coming = self._coming[pack] = Future()
        if first:
            self._fetch(pack, coming)
        return coming.result()

    def _fetch(self, pack: bytes, coming: _Coming) -> None:
        """Let *coming* be what a pack's header says, or why it cannot be had: whoever comes later asks again."""
        try:
            made = self._made(pack)
        except BaseException as error:
            with self._lock:
                del self._coming[pack]
            coming.set_exception(error)
            raise
        with self._lock:
            del self._coming[pack]
            self._ciphers[pack] = made
            if len(self._ciphers) > self._MOST:
                self._ciphers.popitem(last=False)
        coming.set_result(made)

    def _made(self, pack: bytes) -> _Cipher:
        name = self.shelf.object_name(pack)
        head = self.shelf.store.get_range(name, 0, HEADER_SIZE)
        header = Header.decode(head, Kind.PACK, name)
        key = derive_key(sealing_key(self.shelf.keys, header.key_number, name), Kind.PACK, header.salt)
        return AESGCM(key), head + self.shelf.repository_id


def _record(thing: Thing) -> bytes:
    return _RECORD.pack(*thing)


def _thing(fields: tuple[bytes, int, int, int, int, int], pack: str) -> Thing:
    name, offset, length, plain, kind, form = fields
    try:
        return Thing(name, offset, length, plain, Kind(kind), Form(form))
    except ValueError as error:
        raise Damaged(f"{pack} lists {name.hex()} with kind {kind} and form {form}: unknown") from error


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(12, "big")


def _bound_contents(bound: bytes, offset: int) -> bytes:
    return bound + _BOUND.pack(Kind.CONTENTS, Form.RAW, offset, 0, bytes(32))


def unlinked_file(folder: Path) -> int:
    """Open a new file without a name in *folder*.  (tempfile's carry O_EXCL and so could never be linked.)"""
    return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
