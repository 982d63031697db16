"""One connection with many requests in flight: any thread sends, one thread receives for all.

The receiver alone fills the callers' buffers and ends requests, and it ends all of them when the connection does:
once a request has ended, nobody touches its buffer any more.  A server that says what it may not say is a
ConnectionError, as one that went away: nothing that it says later counts.
"""

import socket
import struct
import threading

from restead.drivers.nbd.handshake import fill, receive
from restead.drivers.nbd.wire import (
    CHUNK,
    CHUNK_DONE,
    CHUNK_IS_ERROR,
    CHUNK_MAGIC,
    ERROR,
    EXTENT,
    HOLE,
    MOST_EXTENTS,
    MOST_WORDS,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_MAGIC,
    SIMPLE_REPLY,
    Chunk,
    Command,
    error_text,
    readable,
)

_MOST_ISLANDS = 256  # stretches of one read that were filled and do not touch: servers answer in order, or nearly so
_ZEROES = memoryview(bytes(1 << 16))


class Request:
    """One request: what is asked for, and, once `done` is set, how it ended."""

    def __init__(
        self,
        command: Command,
        offset: int = 0,
        length: int = 0,
        *,
        flags: int = 0,
        payload: memoryview | None = None,
        into: memoryview | None = None,
    ) -> None:
        self.command = command
        self.offset = offset
        self.length = length  # bytes
        self.flags = flags
        self.payload = payload  # what is written
        self.into = into  # where what is read goes
        self.extents: list[tuple[int, int]] = []  # (length, state) from *offset* on
        self.error = ""  # why it failed
        self.words = ""  # what the server says about it
        self.done = threading.Event()
        self._filled: list[tuple[int, int]] = []  # (start, end) in *into*

    def place(self, offset: int, length: int) -> memoryview:
        """Return where that stretch goes, and count it as filled.

        Raises:
            ConnectionError: it was not asked for, or came before.
        """
        start = offset - self.offset
        end = start + length
        outside = self.into is None or length == 0 or start < 0 or end > self.length
        if outside or any(start < stop and begin < end for begin, stop in self._filled):
            asked = f"{self.length} at {self.offset}, once"
            raise ConnectionError(f"it sends {length} bytes at {offset}, asked for were {asked}")
        for number, (begin, stop) in enumerate(self._filled):
            if stop == start:
                self._filled[number] = (begin, end)
                break
        else:
            self._filled.append((start, end))
            if len(self._filled) > _MOST_ISLANDS:
                raise ConnectionError(f"it sends {self.length} bytes at {self.offset} in too many pieces")
        assert self.into is not None
        return self.into[start:end]

    def check_complete(self) -> None:
        """Return if it failed or all of it was answered.  Raises ConnectionError."""
        if self.error:
            return
        if self.command is Command.READ and sum(end - start for start, end in self._filled) != self.length:
            raise ConnectionError(f"it ends its answer to a read of {self.length} bytes at {self.offset} too early")
        if self.command is Command.BLOCK_STATUS and not self.extents:
            raise ConnectionError(f"it says nothing of {self.length} bytes at {self.offset}")


class Connection:
    """A connection that has agreed on an export with structured replies.  `close` ends it."""

    def __init__(self, sock: socket.socket, allocation: int | None, limit: float) -> None:
        """*limit*: seconds for which sending may stand still."""
        self._sock = sock
        self._allocation = allocation
        sock.settimeout(None)  # whoever waits for an answer has a limit of its own; an idle connection needs none
        whole = int(limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, int((limit - whole) * 1e6)))
        self._sending = threading.Lock()
        self._lock = threading.Lock()  # of the next three
        self._pending: dict[int, Request] = {}
        self._next = 1
        self._broken = ""
        self._receiver = threading.Thread(target=self._receive, name="nbd", daemon=True)
        self._receiver.start()

    @property
    def broken(self) -> str:
        """Why nothing can be asked any more; "" while it can."""
        return self._broken

    def send(self, request: Request) -> None:
        """Send a request.  It ends later, in whatever way; at once if the connection is broken."""
        with self._lock:
            broken, cookie = self._broken, self._next
            if not broken:
                self._pending[cookie] = request
                self._next += 1
        if broken:
            request.error = broken
            request.done.set()
            return
        header = REQUEST.pack(REQUEST_MAGIC, request.flags, request.command, cookie, request.offset, request.length)
        try:
            with self._sending:
                self._send_all([memoryview(header)] + ([] if request.payload is None else [request.payload]))
        except BlockingIOError:
            self.sever("it takes nothing any more")
        except OSError as error:
            self.sever(f"sending to it: {error.strerror or error}")

    def sever(self, reason: str) -> None:
        """End the connection; all requests in flight end soon, with that reason."""
        with self._lock:
            self._broken = self._broken or reason
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended already, and the receiver knows
            return

    def join(self) -> None:
        """Return when nothing is received any more, which must have been brought about before."""
        self._receiver.join()

    def close(self) -> None:
        """Say good-bye, if it still listens.  Nobody may use the connection then."""
        if not self._broken:
            self.send(Request(Command.DISCONNECT))
        self.sever("it was closed")
        self.join()
        self._sock.close()

    def _send_all(self, parts: list[memoryview]) -> None:
        while parts:
            sent = self._sock.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if sent:
                parts[0] = parts[0][sent:]

    # ------------------------------------------------------------------ the receiver's thread

    def _receive(self) -> None:
        reason = "an answer of it cannot be read"
        try:
            while True:
                self._receive_one()
        except OSError as error:
            reason = error.strerror or str(error)
        finally:  # whatever it was: nobody is left waiting
            self._end_all(reason)

    def _end_all(self, reason: str) -> None:
        with self._lock:
            self._broken = self._broken or reason
            ended, self._pending = list(self._pending.values()), {}
        for request in ended:
            request.error = self._broken
            request.done.set()
        self.sever(reason)

    def _receive_one(self) -> None:
        magic = int.from_bytes(receive(self._sock, 4))
        if magic == SIMPLE_MAGIC:
            error, cookie = SIMPLE_REPLY.unpack(receive(self._sock, SIMPLE_REPLY.size))
            self._end(cookie, self._find(cookie), error_text(error) if error else "")
        elif magic == CHUNK_MAGIC:
            self._receive_chunk()
        else:
            raise ConnectionError(f"it answers with magic {magic:#x}")

    def _receive_chunk(self) -> None:
        flags, kind, cookie, length = CHUNK.unpack(receive(self._sock, CHUNK.size))
        request = self._find(cookie)
        if kind == Chunk.OFFSET_DATA and length > 8:
            offset = int.from_bytes(receive(self._sock, 8))
            fill(self._sock, request.place(offset, length - 8))
        elif kind == Chunk.OFFSET_HOLE and length == HOLE.size:
            _clear(request.place(*HOLE.unpack(receive(self._sock, length))))
        elif kind == Chunk.BLOCK_STATUS and length % 8 == 4 and 4 < length <= 4 + 8 * MOST_EXTENTS:
            self._take_extents(request, receive(self._sock, length))
        elif kind & CHUNK_IS_ERROR and ERROR.size <= length <= MOST_WORDS:
            _take_error(request, receive(self._sock, length))
        elif not (kind == Chunk.NONE and length == 0 and flags & CHUNK_DONE):
            raise ConnectionError(f"it answers with a chunk of kind {kind}, flags {flags}, {length} bytes")
        if flags & ~CHUNK_DONE:
            raise ConnectionError(f"it answers with flags {flags}")
        if flags & CHUNK_DONE:
            self._end(cookie, request, request.error)

    def _take_extents(self, request: Request, data: bytearray) -> None:
        if request.command is not Command.BLOCK_STATUS or request.extents:
            raise ConnectionError("it says where there is data, and was not asked")
        if int.from_bytes(data[:4]) != self._allocation:
            raise ConnectionError(f"it answers under {int.from_bytes(data[:4])}, agreed was {self._allocation}")
        request.extents = list(EXTENT.iter_unpack(data[4:]))
        if any(length == 0 for length, _ in request.extents):
            raise ConnectionError("it names a stretch of 0 bytes")

    def _find(self, cookie: int) -> Request:
        with self._lock:
            request = self._pending.get(cookie)
        if request is None:
            raise ConnectionError(f"it answers request {cookie}, which nobody waits for")
        return request

    def _end(self, cookie: int, request: Request, error: str) -> None:
        request.error = error
        request.check_complete()
        with self._lock:
            del self._pending[cookie]
        request.done.set()


def _clear(view: memoryview) -> None:
    for at in range(0, len(view), len(_ZEROES)):
        part = view[at : at + len(_ZEROES)]
        part[:] = _ZEROES[: len(part)]


def _take_error(request: Request, data: bytearray) -> None:
    number, length = ERROR.unpack(data[: ERROR.size])
    if number == 0 or ERROR.size + length > len(data):
        raise ConnectionError(f"it fails with error {number} and {length} bytes of words")
    request.error = error_text(number)
    request.words = readable(bytes(data[ERROR.size : ERROR.size + length]))
