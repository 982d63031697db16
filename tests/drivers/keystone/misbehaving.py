"""A Keystone on loopback that answers what a test says: raw bytes for the login, for its versions and about a token."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LATER = "2100-01-01T00:00:00.000000Z"
PERSON = {
    "user": {"id": "u1"}, "project": {"id": "p1"}, "roles": [{"name": "member"}], "expires_at": LATER,
}  # fmt: skip
Say = Callable[[], bytes]


def answer(status: int, body: object = b"", *headers: str) -> bytes:
    """Return a whole answer; what is not bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


class Misbehaving:
    """What it says can be replaced at any time."""

    def __init__(self) -> None:
        said = self

        class _Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(ConnectionError):
                    said._serve(self.rfile, self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Connection)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.catalog = f"{self.url}/v3"  # where its catalog says that it is
        self.asked: list[str] = []
        self.drips = False  # after an answer more comes, byte by byte, and never all of it
        self.login: Say = self.good_login
        self.versions: Say = lambda: answer(300, {"versions": {"values": [self._version()]}})
        self.about: Say = lambda: answer(200, {"token": PERSON})
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def good_login(self) -> bytes:
        endpoint = {"id": "e", "interface": "public", "region": "R", "region_id": "R", "url": self.catalog}
        catalog = [{"type": "identity", "id": "i", "name": "keystone", "endpoints": [endpoint]}]
        return answer(201, {"token": {**PERSON, "catalog": catalog, "methods": ["password"]}}, "X-Subject-Token: ours")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def clouds(self) -> dict[str, Any]:
        """Return a clouds.yaml in which it is called `here`."""
        auth = {"auth_url": f"{self.url}/v3", "username": "u", "password": "p", "project_name": "s",
                "user_domain_id": "default", "project_domain_id": "default"}  # fmt: skip
        return {"clouds": {"here": {"auth": auth}}}

    def _serve(self, requests: Any, connection: socket.socket) -> None:
        while line := requests.readline():
            method, path, _ = line.decode().split()
            length = 0
            while header := requests.readline().strip():
                name, _, value = header.decode("latin-1").partition(":")
                length = int(value) if name.lower() == "content-length" else length
            requests.read(length)
            self.asked.append(f"{method} {path}")
            connection.sendall(self._said(method, path))
            for _ in range(200 if self.drips else 0):
                time.sleep(0.1)
                connection.sendall(b" ")

    def _said(self, method: str, path: str) -> bytes:
        if method == "POST":
            return self.login()
        if path.startswith("/v3/auth/tokens"):
            return self.about()
        if path == "/v3":
            return answer(200, {"version": self._version()})
        return self.versions() if path == "/" else answer(404, b"<html>nothing is here</html>")

    def _version(self) -> dict[str, Any]:
        return {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.url}/v3/"}]}
