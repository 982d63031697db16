"""Requests as nobody should send them, on raw sockets: what they are follows from a seed alone.

    fuzzer = Fuzzer(address, token, operations, seed=1)
    for number in range(10_000):
        asked, answer = fuzzer.send(number)     # answer: all bytes that came until the service closed or fell silent
"""

import json
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import quote

_ANSWER = 1 << 20  # bytes of an answer that are looked at
_PATIENCE = 0.5  # seconds without an answer after which what was sent is believed to want more of it
_ODD = ["", "\0", "\x7f", "é", "\u202e", "\ud800", "𝕏" * 40, "'; DROP TABLE backups; --", "%", "_", "../" * 20,
        "a" * 9000, "9" * 400,
        "-1", "1e999", "NaN", "null", "${7*7}", "{{7*7}}", "\r\nX-Evil: 1", " ", "0x10", "٣", "\ufeff"]  # fmt: skip
_VALUES: list[object] = [
    None, True, False, 0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e308, [], {}, *_ODD
]  # fmt: skip
_NAMES = ["restore", "provider_id", "checkpoint_id", "parameters", "targets", "server_id", "volumes", "protect",
          "policy", "name",
          "scheduled_operations", "trigger", "properties", "pattern", "resources", "id", "type", "tags", "tag", "key",
          "value", "values", "action", "limit", "offset", "marker", "checkpoint", "operation_definition",
          "max_backups", "quota", "hold", "until", "throttle", "bytes_per_second", "check_protectable",
          "check_restorable"]  # fmt: skip
_QUERY = ["limit", "offset", "marker", "sort", "status", "name", "tags", "start_time", "end_time", "checkpoint_id",
          "resource_id", "all_tenants", "from", "project_id", "operation_type", "after"]  # fmt: skip
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "G E T",
            "\0"]  # fmt: skip


class Fuzzer:
    def __init__(
        self, address: tuple[str, int], token: str, operations: Sequence[tuple[str, str]], *, seed: int
    ) -> None:
        """*operations*: methods and paths of the API's document, these with `{variables}`."""
        self._address = address
        self._token = token
        self._operations = list(operations)
        self._seed = seed

    def send(self, number: int) -> tuple[bytes, bytes]:
        """Send request *number*; return it, and what came back."""
        rng = random.Random(f"{self._seed}/{number}")
        asked = self.request(rng)
        with socket.create_connection(self._address, timeout=30) as connection:
            with suppress(OSError):  # it has heard enough before the end
                connection.sendall(asked)
                if rng.random() < 0.3:
                    connection.shutdown(socket.SHUT_WR)
            return asked, _heard(connection)

    def request(self, rng: random.Random) -> bytes:
        kinds: list[Callable[[random.Random], bytes]] = [
            *[self._sensible] * 4, self._broken, self._chunked, self._twice, self._headers, _noise
        ]  # fmt: skip
        return rng.choice(kinds)(rng)

    def _sensible(self, rng: random.Random) -> bytes:
        """HTTP as it should be, with any path, query and body."""
        body = _body(rng) if rng.random() < 0.7 else b""
        return self._head(rng, f"Content-Length: {len(body)}\r\n") + body

    def _broken(self, rng: random.Random) -> bytes:
        """The same with some bytes changed, taken away, repeated or put in; or cut."""
        whole = bytearray(self._sensible(rng))
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(whole) + 1)
            how = rng.randrange(4)
            if how == 0:
                whole[at : at + 1] = rng.randbytes(1)
            elif how == 1:
                del whole[at : at + rng.randint(1, 20)]
            elif how == 2:
                whole[at:at] = whole[at : at + 40] * rng.randint(1, 5)
            else:
                whole[at:at] = rng.randbytes(rng.randint(1, 20))
        return bytes(whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.2 else whole)

    def _chunked(self, rng: random.Random) -> bytes:
        body = _body(rng)
        size = rng.choice([f"{len(body):x}"] * 4 + [f"{len(body) + 1:x}", "-1", "f" * 30, "zz", "", "0", "1;ext=\0"])
        end = rng.choice([*[b"0\r\n\r\n"] * 3, b"", b"0\r\nX-Trailer: 1\r\n\r\n", b"\r\n", b"0\n\n",
                          b"0\r\n" + b"a" * 70000])  # fmt: skip
        coding = rng.choice(["chunked", "chunked", "CHUNKED", "chunked, chunked", "gzip, chunked", "identity"])
        more = rng.choice(["", "", f"Content-Length: {len(body)}\r\n"])
        head = self._head(rng, f"Transfer-Encoding: {coding}\r\n{more}")
        return head + size.encode() + b"\r\n" + body + b"\r\n" + end

    def _twice(self, rng: random.Random) -> bytes:
        """Several on one connection before the first is answered."""
        return b"".join(rng.choice([self._sensible, self._broken, _noise])(rng) for _ in range(rng.randint(2, 5)))

    def _headers(self, rng: random.Random) -> bytes:
        lines = rng.choice([
            "X-A: " + "b" * rng.choice([1000, 20_000, 70_000, 300_000]) + "\r\n",
            "".join(f"X-{n}: 1\r\n" for n in range(rng.choice([50, 500, 5000]))),
            "X-Auth-Token: one\r\nX-Auth-Token: two\r\n", "Host: a\r\nHost: b\r\n", "Host: a:b:c:d@e/f?g#h\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: -1\r\n", "Content-Length: +5\r\n",
            "Content-Length: 99999999999999999999\r\n", "Expect: 100-continue\r\n", "Expect: else\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n",
            " folded: 1\r\n", "No colon\r\n", ": no name\r\n", "X-\xff: \xff\r\n", "Host: \xe9\xff\r\n",
            "Range: bytes=0-1\r\n", "Accept: \0\r\n", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: evil\r\n",
            "Last-Event-ID: " + "9" * 400 + "\r\n",
        ])  # fmt: skip
        return self._head(rng, lines)

    def _head(self, rng: random.Random, lines: str) -> bytes:
        method, path = rng.choice(self._operations)
        method = method.upper() if rng.random() < 0.85 else rng.choice(_METHODS)
        token = self._token if rng.random() < 0.9 else rng.choice(["", "rst_" + "a" * 32, "é", "x" * 5000])
        version = "HTTP/1.1" if rng.random() < 0.95 else rng.choice(["HTTP/1.0", "HTTP/2", "HTTP/9.9", "", "http/1.1"])
        auth = f"X-Auth-Token: {token}\r\n" if token else ""
        host = "Host: h\r\n" if rng.random() < 0.97 else ""
        return f"{method} {_target(rng, path)} {version}\r\n{host}{auth}{lines}\r\n".encode("latin-1", "replace")


def _target(rng: random.Random, template: str) -> str:
    path = "/".join(_variable(rng, part) if part.startswith("{") else part for part in template.split("/"))
    if rng.random() < 0.15:
        path = rng.choice([
            "/..", "//", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/" + "a/" * 3000, "*", "http://other/v1", "",
            path + "/%ff", path.upper(), path + "/" * 50, path + "/..;/", "\\" + path, path + "%",
        ])  # fmt: skip
    pairs = [f"{rng.choice(_QUERY)}={quote(_text(rng))}" for _ in range(rng.choice([0, 0, 0, 1, 2, 5, 200]))]
    return path + ("?" + "&".join(pairs) if pairs else "")


def _variable(rng: random.Random, name: str) -> str:
    known = {"{project_id}": "p1", "{provider_id}": "fc4d5750-22e7-4798-8a46-f48f62c4c1da"}
    usual = known.get(name, "f45c477a-57e5-465f-999f-d845083962db")
    return usual if rng.random() < 0.9 else quote(_text(rng)[:2000], safe="")


def _text(rng: random.Random) -> str:
    any_text = "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randint(0, 60)))
    found = rng.choice([*_ODD, *[any_text] * 8])
    return found.encode("utf-8", "replace").decode()


def _value(rng: random.Random, depth: int) -> object:
    if depth > 0 and rng.random() < 0.5:
        if rng.random() < 0.7:
            return {rng.choice(_NAMES): _value(rng, depth - 1) for _ in range(rng.randint(0, 5))}
        return [_value(rng, depth - 1) for _ in range(rng.choice([0, 1, 2, 3, 20]))]
    return rng.choice(_VALUES)


def _body(rng: random.Random) -> bytes:
    how = rng.random()
    if how < 0.6:
        found = json.dumps({rng.choice(_NAMES): _value(rng, 4) for _ in range(rng.randint(1, 4))}).encode()
        return found[: 2 << 20]
    if how < 0.7:
        deep = rng.choice([b"[", b'{"a":']) * rng.choice([100, 10_000, 200_000])
        return b'{"' + rng.choice(_NAMES).encode() + b'":' + deep
    if how < 0.8:
        return rng.randbytes(rng.choice([1, 100, 10_000]))
    if how < 0.9:
        return b'{"a": ' + b"9" * rng.choice([100, 5000, 100_000]) + b"}"
    return b" " * rng.choice([1, 1 << 20, (1 << 20) + 1])


def _noise(rng: random.Random) -> bytes:
    return rng.choice([
        rng.randbytes(rng.randint(0, 2000)), b"\r\n" * 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /" + b"a" * 200_000, b"\0" * 5000, b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\nHost: h\n\n",
    ])  # fmt: skip


def _heard(connection: socket.socket) -> bytes:
    """Return what comes until the service closes, or says no more."""
    heard = bytearray()
    connection.settimeout(_PATIENCE)
    try:
        while len(heard) < _ANSWER and (part := connection.recv(1 << 16)):
            heard += part
            if _is_whole(heard):
                break
    except (TimeoutError, ConnectionResetError):
        pass
    return bytes(heard)


def _is_whole(heard: bytearray) -> bool:
    """Whether one answer has come to its end."""
    head, end, body = heard.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"")
    return bool(end) and bool(length) and len(body) >= int(length.partition(b":")[2])
