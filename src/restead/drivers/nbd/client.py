"""A disk that an NBD server serves, for many threads at once."""

import socket
from collections import deque
from collections.abc import Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.drivers.nbd.connection import Connection, Request
from restead.drivers.nbd.handshake import agree
from restead.drivers.nbd.wire import (
    BASE_ALLOCATION,
    DIRTY_BITMAP,
    FLAG_FUA,
    FLAG_NO_HOLE,
    STATE_DIRTY,
    STATE_ZERO,
    Command,
    Offers,
)

Buffer = bytes | bytearray | memoryview

_PIECE = 1 << 20  # bytes of data in one request: what a server answers fastest when it has some at once
_AT_ONCE = 8  # requests in flight for one call
_ZEROING = 32 << 20  # bytes made zero by one request: some formats write them, and no answer may take too long
_LOOKING = 1 << 30  # bytes that one question for extents is about
_ZEROES = memoryview(bytes(_PIECE))


class NbdClient:
    """A `BlockSource`, and a `BlockTarget` where the server lets us write.

    Calls of any number of threads are in flight on one connection.  Data goes from the socket to the caller's buffer,
    and back, and is kept nowhere else.  Whatever the server answers is checked; what it may not answer ends the
    connection, as does a request that it leaves unanswered for too long: after that every call raises.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        *,
        export: str = "",
        bitmap: str = "",
        limit: float = 300.0,
        greeting: float = 20.0,
    ) -> None:
        """Agree with the server at the other end of *sock*, which belongs to the client from here on.

        *name*: what the disk is called in errors.  *bitmap*: the dirty bitmap that `dirty` is asked about; then all of
        the disk counts as data.  *limit*: seconds that one answer may take.  *greeting*: those until
        they have agreed, for each answer.

        Raises:
            Unavailable: it is no server that this client can talk to, or does not answer.
        """
        self._name = name
        self._bitmap = bitmap
        self._limit = limit
        sock.settimeout(greeting)
        try:
            self._export = agree(sock, export, f"{DIRTY_BITMAP}{bitmap}".encode() if bitmap else BASE_ALLOCATION)
        except OSError as error:
            sock.close()
            raise Unavailable(f"{name}: its NBD server does not serve it: {error}") from error
        self._connection = Connection(sock, self._export.allocation, limit)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._export.size

    @property
    def read_only(self) -> bool:
        return Offers.READ_ONLY in self._export.offers

    @property
    def broken(self) -> str:
        """Why nothing can be asked any more; "" while it can."""
        return self._connection.broken

    def close(self) -> None:
        """Say good-bye and close the connection; no call may be under way."""
        self._connection.close()

    # ------------------------------------------------------------------ what a disk does

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *offset* on.  Raises Unavailable, naming the place."""
        view = buffer.cast("B")
        self._check_range(offset, len(view))
        self._ask("read", (
            Request(Command.READ, offset + at, length, into=view[at : at + length])
            for at, length in _pieces(len(view), min(_PIECE, self._export.most))
        ))  # fmt: skip

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what surely reads as zeroes, asking as it is consumed.

        All may be data where the server does not tell.  Raises Unavailable.
        """
        self._check_range(offset, length)
        if self._export.allocation is None or self._bitmap:
            return iter([Extent(offset, length, data=True)] if length else [])
        stretches = self._stretches(offset, offset + length)
        return _joined(Extent(at, part, data=not state & STATE_ZERO) for at, part, state in stretches)

    def dirty(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what the bitmap says was written to, in order, asking as it is consumed.

        Raises:
            Unavailable: the server does not serve that bitmap, or fails.
        """
        if self._export.allocation is None or not self._bitmap:
            raise Unavailable(f"{self._name}: its NBD server does not serve bitmap {self._bitmap!r}")
        for at, length, state in self._stretches(0, self.size):
            if state & STATE_DIRTY:
                yield at, length

    def write_at(self, offset: int, data: Buffer, *, fua: bool = False) -> None:
        """Write all of *data*; with *fua* it is on stable storage when this returns.  Raises Unavailable."""
        view = memoryview(data).cast("B")
        self._check_range(offset, len(view))
        self._write(offset, view, fua=fua and Offers.FUA in self._export.offers)
        if fua and Offers.FUA not in self._export.offers:
            self.flush()

    def zero_at(self, offset: int, length: int, *, keep_space: bool = False) -> None:
        """Make that stretch read as zeroes; its space is given back if the server can, or kept if that is asked for.

        Raises:
            Unavailable: an error of the server.
        """
        self._check_range(offset, length)
        if Offers.WRITE_ZEROES not in self._export.offers:
            for at, part in _pieces(length, len(_ZEROES)):
                self._write(offset + at, _ZEROES[:part], fua=False)
            return
        flags = FLAG_NO_HOLE if keep_space else 0
        self._ask("zeroing", (
            Request(Command.WRITE_ZEROES, offset + at, part, flags=flags) for at, part in _pieces(length, _ZEROING)
        ))  # fmt: skip

    def trim_at(self, offset: int, length: int) -> None:
        """Let the server forget what that stretch holds, if it can: it reads as anything then.  Raises Unavailable."""
        self._check_range(offset, length)
        if Offers.TRIM in self._export.offers:
            self._ask("trimming", (
                Request(Command.TRIM, offset + at, part) for at, part in _pieces(length, _ZEROING)
            ))  # fmt: skip

    def flush(self) -> None:
        """Return only when everything written is on stable storage, as the server says.  Raises Unavailable."""
        if Offers.FLUSH not in self._export.offers:
            raise Unavailable(f"{self._name}: its NBD server cannot bring it to stable storage")
        self._ask("flush", iter([Request(Command.FLUSH)]))

    # ------------------------------------------------------------------ inside

    def _write(self, offset: int, view: memoryview, *, fua: bool) -> None:
        self._ask("write", (
            Request(Command.WRITE, offset + at, length, flags=FLAG_FUA if fua else 0, payload=view[at : at + length])
            for at, length in _pieces(len(view), min(_PIECE, self._export.most))
        ))  # fmt: skip

    def _stretches(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (offset, length, state) of the context that was agreed on."""
        while at < end:
            request = Request(Command.BLOCK_STATUS, at, min(_LOOKING, end - at))
            self._ask("search for data", iter([request]))
            stop = at + request.length
            for length, state in request.extents:
                # The last one may reach beyond what was asked for.
                length = min(length, stop - at)
                if length:
                    yield at, length, state
                at += length

    def _ask(self, deed: str, requests: Iterator[Request]) -> None:
        """Send requests, some at once, and return when all have succeeded.

        Raises:
            Unavailable: the first that failed; none is under way then.
        """
        waiting: deque[Request] = deque()
        try:
            for request in requests:
                self._connection.send(request)
                waiting.append(request)
                if len(waiting) == _AT_ONCE:
                    self._await(deed, waiting[0])
                    waiting.popleft()
            while waiting:
                self._await(deed, waiting[0])
                waiting.popleft()
        except Unavailable:
            for request in waiting:
                self._settle(request)
            raise
        except BaseException:  # interrupted: nothing may come into the caller's buffer when the call is left
            self._connection.sever("a call was interrupted")
            self._connection.join()
            raise

    def _await(self, deed: str, request: Request) -> None:
        self._settle(request)
        if request.error:
            where = f" of {request.length} bytes at {request.offset}" if request.length else ""
            raise Unavailable(f"{self._name}: {deed}{where}: {request.error}", detail=request.words)

    def _settle(self, request: Request) -> None:
        if not request.done.wait(self._limit):
            self._connection.sever(f"no answer within {self._limit:g} s")
            request.done.wait()  # the receiver ends it now that there is nothing more to receive

    def _check_range(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{self._name} holds {self.size} bytes, {length} at {offset} were asked for")


def _pieces(length: int, most: int) -> Iterator[tuple[int, int]]:
    return ((at, min(most, length - at)) for at in range(0, length, most))


def _joined(extents: Iterator[Extent]) -> Iterator[Extent]:
    """Yield neighbours of one kind as one."""
    last: Extent | None = None
    for extent in extents:
        if last is not None and last.data == extent.data:
            last = Extent(last.offset, last.length + extent.length, last.data)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last
