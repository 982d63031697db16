"""The first words with an NBD server: fixed newstyle, structured replies, block status, `NBD_OPT_GO`.

The sizes of blocks are not asked for: then a server must take any offset and length, and QEMU's does.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from restead.drivers.nbd.wire import (
    BASE_ALLOCATION,
    FIXED_NEWSTYLE,
    GREETING,
    IHAVEOPT,
    INFO_BLOCK_SIZE,
    INFO_EXPORT,
    IS_ERROR,
    NBDMAGIC,
    NO_ZEROES,
    OPTION,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    Offers,
    Option,
    OptionReply,
    readable,
)

_MOST_DATA = 1 << 16  # bytes of one reply
_MOST_REPLIES = 64  # to one option
_MOST_SIZE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Export:
    """What a server has agreed to serve."""

    size: int  # bytes
    offers: Offers
    allocation: int | None  # the number that block status of the context comes under; None: there is none
    most: int  # bytes in one request that carries data


def agree(sock: socket.socket, name: str, context: bytes = BASE_ALLOCATION) -> Export:
    """Agree with the server on the export *name* ("" is its only or its usual one); *context*: what block status tells.

    Raises:
        ConnectionError: it speaks something else, refuses, or ends.
        OSError: the connection fails, or does not answer within the socket's time limit.
    """
    magic, have, flags = GREETING.unpack(receive(sock, GREETING.size))
    if (magic, have) != (NBDMAGIC, IHAVEOPT) or not flags & FIXED_NEWSTYLE:
        raise ConnectionError(f"it does not greet as a server of fixed newstyle does: {magic:#x} {have:#x} {flags:#x}")
    sock.sendall(struct.pack(">I", FIXED_NEWSTYLE | flags & NO_ZEROES))
    for _ in _option(sock, Option.STRUCTURED_REPLY, b""):
        raise ConnectionError("it answers the wish for structured replies with something else")
    named = struct.pack(">I", len(name.encode())) + name.encode()
    return _go(sock, named, _context(sock, named, context))


def receive(sock: socket.socket, length: int) -> bytearray:
    """Return exactly that many bytes.  Raises ConnectionError if it ends before, OSError."""
    data = bytearray(length)
    fill(sock, memoryview(data))
    return data


def fill(sock: socket.socket, view: memoryview) -> None:
    """Fill *view* from the connection.  Raises as `receive`."""
    done = 0
    while done < len(view):
        count = sock.recv_into(view[done:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise ConnectionError("the connection was closed")
        done += count


def _context(sock: socket.socket, named: bytes, context: bytes) -> int | None:
    wish = named + struct.pack(">II", 1, len(context)) + context
    found = None
    try:
        for kind, data in _option(sock, Option.SET_META_CONTEXT, wish):
            if kind != OptionReply.META_CONTEXT or len(data) < 4 or data[4:] != context or found is not None:
                raise ConnectionError(f"it answers the wish for {context.decode()} with something else")
            found = int(struct.unpack(">I", data[:4])[0])
    except PermissionError:  # it refuses politely: then all of the disk may be data
        return None
    return found


def _go(sock: socket.socket, named: bytes, allocation: int | None) -> Export:
    size, offers, most = None, Offers(0), 32 << 20  # what the protocol lets a client assume
    for kind, data in _option(sock, Option.GO, named + struct.pack(">H", 0)):
        if kind != OptionReply.INFO or len(data) < 2:
            raise ConnectionError(f"it answers the wish to begin with {kind} and {len(data)} bytes")
        about = struct.unpack(">H", data[:2])[0]
        if about == INFO_EXPORT and len(data) == 12:
            size, number = struct.unpack(">QH", data[2:])
            offers = Offers(number)
        elif about == INFO_BLOCK_SIZE and len(data) == 14:
            least, _, most = struct.unpack(">III", data[2:])
            if least != 1 or most < 1 << 16:
                raise ConnectionError(f"it serves only multiples of {least} bytes and at most {most}")
    if size is None or size > _MOST_SIZE or Offers.HAS_FLAGS not in offers:
        raise ConnectionError(f"it does not say what it serves: {size} bytes, {offers!r}")
    return Export(size, offers, allocation, most)


def _option(sock: socket.socket, option: Option, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Send an option, yield (kind, data) of what is answered before the final ACK.

    Raises:
        PermissionError: the server refuses SET_META_CONTEXT, which we can do without.
        ConnectionError: it refuses another, or answers what it may not.
    """
    sock.sendall(OPTION.pack(IHAVEOPT, option, len(data)) + data)
    for _ in range(_MOST_REPLIES):
        magic, about, kind, length = OPTION_REPLY.unpack(receive(sock, OPTION_REPLY.size))
        if magic != OPTION_REPLY_MAGIC or about != option or length > _MOST_DATA:
            raise ConnectionError(f"it answers option {option} with magic {magic:#x}, option {about}, {length} bytes")
        answer = bytes(receive(sock, length))
        if kind == OptionReply.ACK:
            if answer:
                raise ConnectionError(f"it acknowledges option {option} with {length} bytes")
            return
        if kind & IS_ERROR and option is Option.SET_META_CONTEXT:
            raise PermissionError(readable(answer))
        if kind & IS_ERROR:
            raise ConnectionError(f"it refuses option {option.name} (error {kind & ~IS_ERROR}): {readable(answer)}")
        yield kind, answer
    raise ConnectionError(f"it answers option {option} without end")
