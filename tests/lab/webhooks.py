"""A receiver of webhooks on this machine, by sockets alone, so that it can be as odd as receivers are."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class WebhookReceiver:
    """Whoever posts is answered with *answer*, in parts of that many bytes with pauses if *drip* is set."""

    listener: socket.socket
    tls: ssl.SSLContext | None = None
    answer: bytes = TAKEN
    drip: int = 0
    silent: bool = False
    calls: list[Call] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)
    heard: Callable[[Call], None] = lambda _: None

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}/hooks/token-in-the-path"

    def status(self, status: str, *headers: str, body: str = "") -> None:
        """Answer with that from now on."""
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body.encode())}", "", body]
        self.answer = "\r\n".join(lines).encode()

    def go(self) -> None:
        """Listen no more.  Closing alone would leave the one who waits in `accept` there."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self) -> None:
        while not self.ending.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._meet, args=[connection], daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            connection.settimeout(20)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            line = file.readline().decode().strip()
            headers = dict(iter(lambda: _header(file.readline()), ("", "")))
            call = Call(line, headers, file.read(int(headers.get("content-length", "0"))))
        self.calls.append(call)
        self.heard(call)
        if self.silent:
            self.ending.wait(20)
        elif self.drip:
            for at in range(0, len(self.answer), self.drip):
                connection.sendall(self.answer[at : at + self.drip])
                if self.ending.wait(0.1):
                    return
        else:
            connection.sendall(self.answer)


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode().strip().partition(":")
    return name.lower(), value.strip()


@contextmanager
def webhook_receiver(certificate: tuple[Path, Path] | None = None, port: int = 0) -> Iterator[WebhookReceiver]:
    """Listen on a free port, or on that one."""
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    with socket.create_server(("127.0.0.1", port)) as listener:
        receiver = WebhookReceiver(listener, tls)
        threading.Thread(target=receiver.serve, daemon=True).start()
        yield receiver
        receiver.ending.set()
        receiver.go()
