"""The protocol's numbers and the shapes of its messages (NBD, doc/proto.md).  All of them big-endian.  Pure."""

import errno
import os
import struct
from enum import IntEnum, IntFlag

GREETING = struct.Struct(">QQH")  # "NBDMAGIC", "IHAVEOPT", flags
OPTION = struct.Struct(">QII")  # "IHAVEOPT", option, length of its data
OPTION_REPLY = struct.Struct(">QIII")  # magic, option, kind, length of its data
REQUEST = struct.Struct(">IHHQQI")  # magic, flags, command, cookie, offset, length
SIMPLE_REPLY = struct.Struct(">IQ")  # behind its magic: error, cookie
CHUNK = struct.Struct(">HHQI")  # behind its magic: flags, kind, cookie, length of its data
HOLE = struct.Struct(">QI")  # offset, length
ERROR = struct.Struct(">IH")  # error, length of the message behind it
EXTENT = struct.Struct(">II")  # length, state

NBDMAGIC, IHAVEOPT = 0x4E42444D41474943, 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF

FIXED_NEWSTYLE, NO_ZEROES = 1, 2  # flags of the greeting, and of what we answer
BASE_ALLOCATION = b"base:allocation"
STATE_ZERO = 2  # of an extent of base:allocation: it reads as zeroes
DIRTY_BITMAP = "qemu:dirty-bitmap:"  # and the bitmap's name (QEMU, docs/interop/nbd.txt)
STATE_DIRTY = 1  # of an extent of such a context


class Option(IntEnum):
    GO = 7
    STRUCTURED_REPLY = 8
    SET_META_CONTEXT = 10


class OptionReply(IntEnum):
    ACK = 1
    INFO = 3
    META_CONTEXT = 4


IS_ERROR = 1 << 31  # of an option's reply
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3


class Offers(IntFlag):
    """What an export can do."""

    HAS_FLAGS = 1
    READ_ONLY = 2
    FLUSH = 4
    FUA = 8
    TRIM = 32
    WRITE_ZEROES = 64


class Command(IntEnum):
    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


FLAG_FUA, FLAG_NO_HOLE = 1, 2  # of a request


class Chunk(IntEnum):
    """Kinds of structured replies; those with bit 15 are errors, also those we do not know."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5


CHUNK_DONE, CHUNK_IS_ERROR = 1, 1 << 15

MOST_EXTENTS = 1 << 17  # in one reply: as many as QEMU ever sends; 1 MiB
MOST_WORDS = 8192  # bytes of an error's text (at most 4096) and what may be about it

# Errors have Linux's numbers; these are the ones the protocol knows.
_ERRORS = (errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW, errno.ENOTSUP,
           errno.ESHUTDOWN)  # fmt: skip


def error_text(number: int) -> str:
    """Say an error's number in words."""
    return os.strerror(number) if number in _ERRORS else f"error {number}"


def readable(words: bytes) -> str:
    """Return a server's words so that a log can show them."""
    text = words.decode(errors="replace")[:400]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
