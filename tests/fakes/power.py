"""Power that can be cut: at the n-th thing that matters, everything stops at once.  Faults go in by the same way."""

import threading
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import Buffer


class PowerCut(BaseException):
    """No Exception, so that no handler can swallow it."""


class Power:
    """Counts what matters.  When the count reaches *cut_at* the power is off, and whatever is tried then fails."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.count = 0
        self.off = False
        self.last = ""  # what was about to happen when it went off
        self.fault: Callable[[str], None] = lambda what: None  # called before everything; what it raises is raised
        self._lock = threading.Lock()

    def look(self, what: str) -> None:
        """Something that changes nothing is about to happen."""
        if self.off:
            raise PowerCut(f"{self.count}: {self.last}")
        self.fault(what)

    def tick(self, what: str) -> None:
        """Something that matters is about to happen."""
        self.fault(what)
        with self._lock:
            if not self.off:
                self.count += 1
                self.off = self.count == self.cut_at
                self.last = what
            if self.off:
                raise PowerCut(f"{self.count}: {self.last}")

    def feed(self, engine: sa.Engine) -> None:
        """Let every transaction of these records hang on this power: at its begin and at its commit."""
        sa.event.listen(engine, "begin", lambda connection: self._transaction(connection, "begin"))
        sa.event.listen(engine, "commit", lambda connection: self._transaction(connection, "commit"))

    def _transaction(self, connection: sa.Connection, what: str) -> None:
        if not connection.get_execution_options().get("reading"):
            self.tick(f"records: {what}")
        else:
            self.look(f"records: {what} reading")


class PoweredStore:
    """A store that hangs on power.  A put can be cut before it happens, or after it but before the answer."""

    def __init__(self, store: MemoryBlobs, power: Power) -> None:
        self._store = store
        self._power = power

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        self._power.tick(f"put {name}")
        stored = self._store.put(name, data)
        self._power.tick(f"answer to put {name}")
        return stored

    def put_file(self, name: str, fd: int) -> bool:
        self._power.tick(f"put {name}")
        stored = self._store.put_file(name, fd)
        self._power.tick(f"answer to put {name}")
        return stored

    def get(self, name: str) -> bytes:
        self._power.look(f"get {name}")
        return self._store.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        self._power.look(f"get {name}")
        return self._store.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._power.look(f"list {prefix}")
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._power.tick(f"delete {name}")
        self._store.delete(name)
