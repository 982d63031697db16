"""What a run of disk bytes is called, and in which form it is kept.

A name is the keyed BLAKE3-256 of the plain bytes; the key is the project's own and differs for chunks, pages and
roots, so that none can stand in for another and nobody without it learns which known data are stored.
"""

import struct
import sys
from enum import IntEnum

from blake3 import blake3

from restead.domain.errors import Damaged
from restead.repository.seal import Kind

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME_SIZE = 32
ZERO = bytes(NAME_SIZE)  # in place of a name: all bytes there are zero and stored nowhere

_SAMPLE = 4096  # bytes; two of them decide whether compression is tried at all


class Form(IntEnum):
    """How the bytes of a stored thing are written.  Numbers are never used again."""

    RAW = 0
    ZSTD = 1  # one zstd frame


class Names:
    """The names of one project's things."""

    def __init__(self, name_key: bytes) -> None:
        self._keys = {kind: _name_key(name_key, kind) for kind in (Kind.CHUNK, Kind.PAGE, Kind.ROOT)}
        self._chunk_key = self._keys[Kind.CHUNK]
        #: What the project's packs and index runs are kept under: 32 hexadecimal digits that say nothing.
        self.tag = blake3(b"restead 1 project tag", key=name_key).digest(16).hex()

    def chunk(self, data: bytes | memoryview) -> bytes:
        """Return the name of a chunk with these bytes."""
        return blake3(data, key=self._chunk_key).digest()

    def name(self, kind: Kind, data: bytes | memoryview) -> bytes:
        """Return the name of a chunk, page or root with these bytes."""
        return blake3(data, key=self._keys[kind]).digest()


def _name_key(name_key: bytes, kind: Kind) -> bytes:
    return blake3(b"restead 1 name key" + struct.pack(">H", kind), key=name_key).digest()


class Press:
    """Compresses for one thread, with one context."""

    def __init__(self, level: int = 1) -> None:
        self._zstd = zstd.ZstdCompressor(level=level)

    def press(self, data: bytes | memoryview) -> tuple[Form, bytes | memoryview]:
        """Return the form that *data* is best kept in and its bytes, which may be *data* itself.

        Data of which two samples do not shrink are not tried; a result must save a 32nd to be worth undoing.
        """
        size = len(data)
        if size >= 4 * _SAMPLE and not (self._shrinks(data, size // 4) or self._shrinks(data, size // 4 * 3)):
            return Form.RAW, data
        packed = self._frame(data)
        return (Form.ZSTD, packed) if len(packed) <= size - size // 32 - 1 else (Form.RAW, data)

    def _shrinks(self, data: bytes | memoryview, at: int) -> bool:
        return len(self._frame(data[at : at + _SAMPLE])) < _SAMPLE - _SAMPLE // 32

    def _frame(self, data: bytes | memoryview) -> bytes:
        return self._zstd.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)


def expand(data: bytes | memoryview, size: int, what: str) -> bytes:
    """Return the *size* bytes that one zstd frame holds.

    Raises:
        Damaged: it is not one whole frame of exactly that size; *what* is named.
    """
    unpacker = zstd.ZstdDecompressor()
    try:
        plain = unpacker.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise Damaged(f"{what} does not decompress", detail=str(error)) from error
    if len(plain) != size or not unpacker.eof or unpacker.unused_data:
        raise Damaged(f"{what} decompresses to {len(plain)} bytes, expected {size}")
    return plain
