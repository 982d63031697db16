"""A way to an HTTP service that takes long, counts what is under way, and has weather.

    with FarAway("http://127.0.0.1:9000", delay=0.05) as way:
        …  # clients use way.url
    way.peak, way.peak_bytes, way.seen

*weather* is asked for each request and says what becomes of it: one of the classes below, or None for fair weather.
As a program, `python -m tests.lab.far_away URL SECONDS`, it prints its address and serves until its input ends.
"""

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

_LIMIT = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_EXPECTS = re.compile(rb"(?i)\r\nexpect: 100-continue(?=\r\n)")


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def range(self) -> int:
        """How many bytes of an object are asked for; 0 if no range is."""
        found = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(found[2]) - int(found[1]) + 1 if found else 0


@dataclass(frozen=True)
class Answer:
    """The service is not asked: this is answered."""

    status: int
    body: bytes | memoryview = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # after so many bytes of the body the connection breaks


@dataclass(frozen=True)
class Cut:
    """The service is not asked: the connection breaks."""


@dataclass(frozen=True)
class LoseReply:
    """The service does what was asked, and nobody hears of it: the connection breaks, or *status* is answered."""

    status: int = 0


@dataclass(frozen=True)
class Truncate:
    """The first *length* bytes of the answer come; then the connection breaks, or, if *quietly*, that was all."""

    length: int
    quietly: bool = False


@dataclass(frozen=True)
class Wait:
    """It takes so many seconds longer."""

    seconds: float


Weather = Callable[[Asked], Answer | Cut | LoseReply | Truncate | Wait | None]


class FarAway:
    def __init__(
        self, upstream: str, *, delay: float = 0.0, weather: Weather | None = None, remember: bool = True
    ) -> None:
        """*remember*: keep all requests, with what they carried, in `seen`."""
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname, parts.port
        self.delay = delay
        self.weather: Weather = weather or (lambda asked: None)
        self.seen: list[Asked] = []
        self._remember = remember
        self.peak = self.peak_bytes = 0  # requests under way at once, and bytes of ranges that they ask for
        self._now = self._now_bytes = 0
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Count anew from here on."""
        self.seen, self.peak, self.peak_bytes = [], 0, 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LIMIT, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await client.readuntil(b"\r\n\r\n")
                if _EXPECTS.search(head):  # answered here, at once: the service shall not say it once more
                    out.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    head = _EXPECTS.sub(b"", head)
                asked = await _asked(head, client)
                self._begin(asked)
                try:
                    if self._host and not upstream:
                        upstream = await asyncio.open_connection(self._host, self._port, limit=_LIMIT)
                    go_on = await self._pass_on(asked, head + asked.body, upstream, out)
                finally:
                    self._now -= 1
                    self._now_bytes -= asked.range
                if not go_on:
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            for writer in [out, *([upstream[1]] if upstream else [])]:
                writer.close()

    def _begin(self, asked: Asked) -> None:
        if self._remember:
            self.seen.append(asked)
        self._now += 1
        self._now_bytes += asked.range
        self.peak = max(self.peak, self._now)
        self.peak_bytes = max(self.peak_bytes, self._now_bytes)

    async def _pass_on(
        self, asked: Asked, request: bytes, upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None,
        out: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        """Answer one request; return whether the connection goes on."""
        weather = self.weather(asked)
        await asyncio.sleep(self.delay + (weather.seconds if isinstance(weather, Wait) else 0))
        if isinstance(weather, Cut):
            return False
        if isinstance(weather, Answer):
            out.write(_plain(weather))
            if asked.method != "HEAD":
                out.write(weather.body[: weather.cut])
            await out.drain()
            return weather.cut is None
        assert upstream is not None
        upstream[1].write(request)
        await upstream[1].drain()
        head = await upstream[0].readuntil(b"\r\n\r\n")
        body = await _body(asked, head, upstream[0])
        if isinstance(weather, LoseReply):
            if weather.status:
                out.write(_plain(Answer(weather.status)))
                await out.drain()
            return bool(weather.status)
        if isinstance(weather, Truncate):
            if weather.quietly:
                head = re.sub(rb"(?i)\r\ncontent-length: \d+", b"\r\nContent-Length: %d" % weather.length, head)
            out.write(head + body[: weather.length])
            await out.drain()
            return weather.quietly
        out.write(head + body)
        await out.drain()
        return b"connection: close" not in head.lower()


async def _asked(head: bytes, client: asyncio.StreamReader) -> Asked:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(method, path, headers, await client.readexactly(int(headers.get("content-length", 0))))


async def _body(asked: Asked, head: bytes, upstream: asyncio.StreamReader) -> bytes:
    status = int(head.split(b" ", 2)[1])
    if asked.method == "HEAD" or status in (204, 304):
        return b""
    if found := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
        return await upstream.readexactly(int(found[1]))
    parts = []
    while True:  # chunked
        line = await upstream.readuntil(b"\r\n")
        size = int(line, 16)
        parts += [line, await upstream.readexactly(size + 2)]
        if not size:
            return b"".join(parts)


def _plain(answer: Answer) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
    first = f"HTTP/1.1 {answer.status} Weather\r\nContent-Length: {len(answer.body)}\r\n"
    return "".join([first, *lines, "\r\n"]).encode()


if __name__ == "__main__":
    with FarAway(sys.argv[1], delay=float(sys.argv[2]), remember=False) as way, suppress(KeyboardInterrupt):
        print(way.url, flush=True)
        sys.stdin.read()
