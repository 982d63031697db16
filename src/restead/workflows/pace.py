"""How fast the disks of running servers are read: each server at a rate of its own, and all of them at one together."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from restead.domain.extent import Extent
from restead.domain.ids import ServerId
from restead.ports import BlockSource
from restead.records import Records, RecordsUnavailable, paces
from restead.workflows.story import DurableRun
from restead.workflows.throttle import Throttle


class Pace:
    """The rates of one process.  Rows say what they are; each backup looks at them now and then while it reads."""

    def __init__(self, records: Records, look_every: timedelta) -> None:
        self._records = records
        self._every = look_every.total_seconds()
        self._all = Throttle()

    def of(self, run: DurableRun, server_id: ServerId) -> Callable[[int], None]:
        """Return what to ask before so many bytes of that server are read; it returns when they may be."""
        own, lock, due = Throttle(), threading.Lock(), 0.0

        def look() -> None:
            nonlocal due
            if time.monotonic() < due or not lock.acquire(blocking=False):
                return
            try:
                due = time.monotonic() + self._every
                with self._records.read() as tx:
                    mine, together = paces.paces(tx, run.project_id, server_id)
                own.set(mine)
                self._all.set(together)
            except RecordsUnavailable:
                return  # the next look is soon
            finally:
                lock.release()

        def check() -> None:
            run.check()
            look()

        def spend(length: int) -> None:
            look()
            own.take(length, check)
            self._all.take(length, check)

        return spend


class PacedSource:
    """A BlockSource that is read no faster than it may be."""

    def __init__(self, source: BlockSource, spend: Callable[[int], None]) -> None:
        self._source = source
        self._spend = spend

    @property
    def size(self) -> int:
        return self._source.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._spend(buffer.nbytes)
        self._source.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._source.extents(offset, length)
