"""Clients that are slow, gone, many or large keep neither places nor memory, and others are served meanwhile."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send
from tests.api.front import PROJECT, Front
from tests.app.running import Place, Running, service
from tests.lab import databases

from restead.api import Guesses, guessing
from restead.app import connections
from restead.app.connections import MOST, BoundedConnection, Wait
from restead.app.listening import bind
from restead.settings import Settings

_MIB = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(Place(tmp_path_factory.mktemp("served"))) as running:
        yield running


def _connect(running: Running, said: bytes = b"") -> socket.socket:
    found = socket.create_connection(_address(running.url), timeout=30)
    found.sendall(said)
    return found


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _rest(connection: socket.socket) -> bytes:
    """Return all that comes until the service closes the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):  # an answer that came before the end
            pass
        return False
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: a", b"POST /v1/p1/restores HTTP/1.1\r\nHost: a\r\n"
                                  b"X-Auth-Token: t\r\nContent-Length: 9\r\n\r\n{"])  # fmt: skip
def test_slow_connections_leave_room_for_requests(served: Running, said: bytes) -> None:
    """More than are served at once: whoever keeps us waiting longest goes, and requests go on being answered."""
    with ExitStack() as ending:
        slow = [ending.enter_context(closing(_connect(served, said))) for _ in range(MOST)]
        assert [httpx2.get(f"{served.url}/", timeout=30).status_code for _ in range(20)] == [300] * 20
        slow += [ending.enter_context(closing(_connect(served, said))) for _ in range(50)]
        with httpx2.Client(timeout=30) as fresh:  # one that was open before has been silent longest, and may go
            assert fresh.send(served.http.build_request("GET", "/servers")).status_code == 200
        until = time.monotonic() + 10  # the last ones may still be waiting to be met
        while sum(left := [_is_open(connection) for connection in slow]) > MOST and time.monotonic() < until:
            time.sleep(0.1)
        assert sum(left) <= MOST
        assert all(left[-50:])


def test_idle_connections_are_no_hindrance(served: Running) -> None:
    """500 that are open and silent, while a server is backed up."""
    place = served.place
    with ExitStack() as ending:
        for _ in range(500):
            ending.enter_context(closing(_connect(served)))
        disk = place.disk("disk.raw", 4 * _MIB, seed=1)
        server = place.restead("server", "add", "web-1", "--project", "p1", "--disk", f"path={disk}").split()[-1]
        assert served.wait_for_backup(served.begin_backup(server))["status"] == "available"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000, 431),
        (b"GET /?" + b"a=b&" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_told_so(served: Running, said: bytes, status: int) -> None:
    """Answered before all of it is heard, in the shape of every other error; then the connection ends."""
    with closing(socket.create_connection(_address(served.url), timeout=30)) as connection:
        threading.Thread(target=_hears, args=(connection, said), daemon=True).start()
        head, _, body = _rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"x-openstack-request-id: req-" in head.lower()
    assert body.startswith(b'{"error": {"code": %d' % status)


def test_where_a_body_ends_in_two_ways_nothing_more_is_heard(served: Running) -> None:
    """RFC 9112, 6.1: a proxy in front may have taken what follows for the body, or the body for another's request."""
    token, inner = served.http.headers["X-Auth-Token"], "GET /v1/p1/servers HTTP/1.1\r\nHost: a\r\n\r\n"
    head = f"POST /v1/p1/restores HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {token}\r\n"
    for both in ("Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"):
        with closing(_connect(served, f"{head}{both}\r\n\r\n0\r\n\r\n{inner}{inner}".encode())) as connection:
            heard = _rest(connection)
        assert [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]] == [b"400"]


def test_an_address_may_be_whole(served: Running) -> None:
    """RFC 9112, 3.2.2: it says the host, too, whatever the header of that name says."""
    asked = b"GET http://backup.example:8080%s HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"
    for path in (b"/", b"", b"/?a=b"):
        with closing(_connect(served, asked % path)) as connection:
            heard = _rest(connection)
        assert heard.startswith(b"HTTP/1.1 300 "), heard
        assert b'"href":"http://backup.example:8080/v1/"' in heard


def test_an_endless_body_is_refused_at_its_limit(served: Running) -> None:
    """In pieces, so that nobody knows how much comes."""
    head = f"POST /v1/p1/restores HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {served.http.headers['X-Auth-Token']}\r\n"
    with closing(_connect(served, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())) as connection:
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        threading.Thread(target=_hears, args=(connection, piece * 4096), daemon=True).start()
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_who_says_no_more_still_gets_the_answer(served: Running) -> None:
    """One direction of the connection is closed: HTTP allows it."""
    with closing(_connect(served, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert _rest(connection).startswith(b"HTTP/1.1 300")


def test_a_broken_body_is_no_fault_of_ours(served: Running) -> None:
    """Whether it breaks before the answer or behind it: nothing of it is an error in the log."""
    token = served.http.headers["X-Auth-Token"]
    for path, auth in (("/v1/p1/restores", token), ("/v1/p1/restores", "wrong"), ("/v1/p1/quotas", token), ("/", "")):
        method = "HEAD" if path == "/" else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {auth}\r\nTransfer-Encoding: chunked\r\n\r\n"
        for rest in (b"1\r\n{\r\nzz\r\n", b"1\r\n{\r\n0\r\n\r\n\0\0\0\r\n\r\n"):
            for pause in (0, 0.1):
                with closing(_connect(served, head.encode())) as connection:
                    time.sleep(pause)
                    _hears(connection, rest)
                    connection.settimeout(0.3)
                    try:
                        _rest(connection)
                    except TimeoutError:
                        pass
    assert served.http.get("/servers").status_code == 200
    assert [line for line in served.place.log_lines() if line["level"] == "error"] == []


def test_a_peer_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """Power cut at the other end: no packet ever says so.  The kernel asks, on each connection that we take."""
    with closing(bind(Settings(data=tmp_path, listen="127.0.0.1:0", passphrase=SecretStr("x")))) as listener:
        with closing(socket.create_connection(listener.getsockname())):
            taken, _ = listener.accept()
            with closing(taken):
                assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert 0 < taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 120_000


# ---------------------------------------------------------------------- without patience


class _Hasty(BoundedConnection):
    patience = dict.fromkeys(Wait, 0.2) | {Wait.READER: 1.0}  # a reader may get no processor for a while
    look_every = 0.05


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and answers with as many bytes as the query says."""
    while (await receive()).get("more_body"):
        pass
    size = int(scope["query_string"] or b"2")
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, size, 1 << 16):
        await send({"type": "http.response.body", "body": bytes(min(1 << 16, size - at)), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextmanager
def _hasty(app: Any = _app, http: type[BoundedConnection] = _Hasty) -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(app, http=http, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def test_who_guesses_tokens_keeps_no_place_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal takes seconds, in which the connection is open: nobody needs a token to have many of them."""
    monkeypatch.setattr(connections, "MOST", 4)
    monkeypatch.setattr(guessing, "_FREE", 0)
    monkeypatch.setattr(guessing, "_FIRST", 0.8)
    asked = b"GET /v1/%s/quotas HTTP/1.1\r\nHost: a\r\nX-Auth-Token: %s\r\nConnection: close\r\n\r\n"
    with (
        databases.empty("sqlite") as database,
        closing(Front(database, guesses=Guesses())) as front,
        ExitStack() as ending,
    ):
        address = ending.enter_context(_hasty(front.app, BoundedConnection))
        for _ in range(4):
            guesser = ending.enter_context(closing(socket.create_connection(address, timeout=30)))
            guesser.sendall(asked % (PROJECT.encode(), b"rst_wrong"))
        until = time.monotonic() + 10
        while _refused(front) < 4:
            assert time.monotonic() < until
            time.sleep(0.01)
        with closing(socket.create_connection(address, timeout=30)) as other:
            other.sendall(asked % (PROJECT.encode(), front.token.encode()))
            assert _rest(other).startswith(b"HTTP/1.1 200 ")


def _refused(front: Front) -> int:
    """How many guesses from this machine have been refused."""
    count: int = front.app.state.door.guesses._counts.get("127.0.0.1", (0, 0.0))[0]
    return count


_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (b"", []),
        (_HEAD, []),
        (_HEAD + b"\r\n" + _HEAD, [b"200"]),  # a whole request, then a slow one
        (_POST + b"a", [b"408"]),
        (_POST + b"aaa" + _POST, [b"200", b"408"]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", [b"408"]),
    ],
)
def test_who_is_slow_is_not_waited_for(said: bytes, answers: list[bytes]) -> None:
    """Whatever is missing: a head, the rest of one, a body.  A byte now and then does not help."""
    with _hasty() as address, closing(socket.create_connection(address, timeout=30)) as connection:
        connection.sendall(said)
        heard = _rest(connection)
    assert [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]] == answers


def test_a_head_that_comes_byte_by_byte_has_no_more_time(capfd: pytest.CaptureFixture[str]) -> None:
    with _hasty() as address, closing(socket.create_connection(address, timeout=30)) as connection:
        while _hears(connection, b"X"):
            time.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err


def _hears(connection: socket.socket, said: bytes) -> bool:
    try:
        connection.sendall(said)
    except OSError:
        return False
    return True


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    """And with it the memory that holds it; one that is read slowly comes whole."""
    size = 64 << 20
    asked = b"GET /?%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size
    with _hasty() as address:
        with closing(socket.create_connection(address, timeout=30)) as deaf:
            deaf.sendall(asked)
            time.sleep(2)
            assert len(_rest(deaf)) < size
        with closing(socket.create_connection(address, timeout=30)) as slow:
            slow.sendall(asked)
            heard = 0
            while part := slow.recv(4 << 20):
                heard += len(part)
                time.sleep(0.01)
            assert heard > size
