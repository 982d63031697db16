"""An NBD server written from the protocol by hand: it serves bytes, and lies where a test wants it to.

    with serving(bytearray(size), lie=lambda server, asked: …) as sock:
        NbdClient(sock, "disk d")

*lie* is called with every request before it is answered; if it returns True it has answered itself.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace

READ, WRITE, DISC, FLUSH, TRIM, ZEROES, STATUS = 0, 1, 2, 3, 4, 6, 7
DONE = 1


@dataclass
class Asked:
    """A request as it came."""

    command: int
    flags: int
    cookie: int
    offset: int
    length: int
    data: bytes


class Gone(Exception):
    """The client went away, or the test wants the server to."""


class LyingServer:
    """Serves one client.  *greeting* and *options* replace what is said before the first request."""

    def __init__(
        self,
        sock: socket.socket,
        content: bytearray,
        lie: Callable[["LyingServer", Asked], bool] | None,
        greeting: bytes | None = None,
        options: dict[int, bytes] | None = None,
        flags: int = 1 | 4 | 8 | 32 | 64,
    ) -> None:
        self.sock = sock
        self.content = content
        self.lie = lie
        self.greeting = greeting
        self.options = options or {}
        self.flags = flags
        self.asked: list[Asked] = []

    def run(self) -> None:
        try:
            self._agree()
            while True:
                self._answer(self._next())
        except (Gone, OSError):
            self.sock.close()

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                raise Gone
            data += part
        return data

    # ------------------------------------------------------------------ what a test lies with

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def simple(self, cookie: int, error: int = 0) -> None:
        self.say(struct.pack(">IIQ", 0x67446698, error, cookie))

    def chunk(self, cookie: int, kind: int, data: bytes = b"", flags: int = DONE, length: int | None = None) -> None:
        size = len(data) if length is None else length
        self.say(struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, size) + data)

    def data(self, cookie: int, offset: int, data: bytes, flags: int = DONE) -> None:
        self.chunk(cookie, 1, struct.pack(">Q", offset) + data, flags)

    def hole(self, cookie: int, offset: int, length: int, flags: int = DONE) -> None:
        self.chunk(cookie, 2, struct.pack(">QI", offset, length), flags)

    def error(self, cookie: int, number: int, words: bytes = b"", kind: int = 0x8001) -> None:
        self.chunk(cookie, kind, struct.pack(">IH", number, len(words)) + words)

    def extents(self, cookie: int, *extents: tuple[int, int], context: int = 7, flags: int = DONE) -> None:
        self.chunk(cookie, 5, struct.pack(">I", context) + b"".join(struct.pack(">II", *e) for e in extents), flags)

    # ------------------------------------------------------------------ the truth

    def _agree(self) -> None:
        self.say(self.greeting or struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 3))
        self.receive(4)
        while True:
            _, option, length = struct.unpack(">QII", self.receive(16))
            self.receive(length)
            if option in self.options:
                self.say(self.options[option])
            elif option == 10:
                self.say(option_reply(10, 4, struct.pack(">I", 7) + b"base:allocation") + option_reply(10, 1))
            elif option == 7:
                self.say(option_reply(7, 3, struct.pack(">HQH", 0, len(self.content), self.flags)))
                self.say(option_reply(7, 1))
            else:
                self.say(option_reply(option, 1))
            if option == 7:
                return

    def _next(self) -> Asked:
        magic, flags, command, cookie, offset, length = struct.unpack(">IHHQQI", self.receive(28))
        assert magic == 0x25609513
        asked = Asked(command, flags, cookie, offset, length, self.receive(length) if command == WRITE else b"")
        self.asked.append(asked)
        return asked

    def _answer(self, asked: Asked) -> None:
        if asked.command == DISC:
            raise Gone
        if self.lie is not None and self.lie(self, asked):
            return
        part = slice(asked.offset, asked.offset + asked.length)
        if asked.command == READ:
            self.data(asked.cookie, asked.offset, bytes(self.content[part]))
        elif asked.command == STATUS:
            self.extents(asked.cookie, (asked.length, 0 if any(self.content[part]) else 3))
        else:
            if asked.command in (WRITE, ZEROES):
                self.content[part] = asked.data or bytes(asked.length)
            self.simple(asked.cookie)


def option_reply(option: int, kind: int, data: bytes = b"", magic: int = 0x3E889045565A9) -> bytes:
    return struct.pack(">QIII", magic, option, kind, len(data)) + data


@contextmanager
def serving(
    content: bytearray, lie: Callable[[LyingServer, Asked], bool] | None = None, **more: object
) -> Iterator[SimpleNamespace]:
    """Serve one client at the socket `.sock`; `.server` is the server."""
    ours, theirs = socket.socketpair()
    server = LyingServer(theirs, content, lie, **more)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield SimpleNamespace(sock=ours, server=server)
    finally:
        ours.close()
        with suppress(OSError):  # the server may close it at this moment
            theirs.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()
