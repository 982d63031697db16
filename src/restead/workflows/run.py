"""One life of a run: its journal, its lease, its story."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import structlog

from restead.domain.errors import Unavailable
from restead.domain.ids import ProjectId, RunId
from restead.domain.run import Claim, Told
from restead.records import LeaseLost, Records, RecordsUnavailable, Transaction, events, runs

Result = TypeVar("Result")
log = structlog.get_logger()

# A lease is trusted for less time than it lasts, so that its owner stops writing before anybody may take over.
_TRUSTED = 0.75


class Interrupted(Exception):
    """The service ends: the run stops where it is and is taken up at the next start."""


class LeasedRun:
    """Implements the port Run under a claim.

    A process that is stopped between `check` and the write behind it still writes once; that is why a lease that
    has run out is not taken over on one machine before its owner is gone (the data folder's lock sees to it).
    """

    def __init__(
        self, records: Records, claim: Claim, *, stopping: threading.Event, lease: timedelta, pauses: Sequence[float]
    ) -> None:
        self._records = records
        self._claim = claim
        self._stopping = stopping
        self._lease = lease
        self._pauses = pauses
        self._lost = False
        self._deadline = 0.0
        self._trust(time.monotonic())

    @property
    def claim(self) -> Claim:
        return self._claim

    @property
    def id(self) -> RunId:
        return self._claim.run_id

    @property
    def project_id(self) -> ProjectId:
        return self._claim.project_id

    @property
    def subject(self) -> str:
        return self._claim.subject

    def step(self, name: str, do: Callable[[], Result]) -> Result:
        """See the port.  The result comes back as JSON gives it (tuples are lists), in every life alike."""
        with self._records.read() as tx:
            done = runs.finished(tx, self.id, name)
        if done is not None:
            found: Result = done.result
            return found
        result: Result = json.loads(json.dumps(self._persist(name, do)))
        with self._records.begin() as tx:
            runs.add_step(tx, self._claim, name, result)
        return result

    def _persist(self, name: str, do: Callable[[], Result]) -> Result:
        """The one place where anything is tried again: only what says it may be, a few times, ever more slowly."""
        for pause in self._pauses:
            self.check()
            try:
                return do()
            except RecordsUnavailable:
                raise
            except Unavailable as error:
                log.warning("step is tried again", step=name, reason=error.message, detail=error.detail, after=pause)
            self._stopping.wait(pause)
        self.check()
        return do()

    def tell(self, kind: str, subject: str = "", **numbers: object) -> None:
        with self._records.begin() as tx:
            events.add(tx, self.id, Told(kind), subject, **numbers)

    def record(self, do: Callable[[Transaction], None]) -> None:
        with self._records.begin() as tx:
            runs.fence(tx, self._claim)
            do(tx)

    def check(self) -> None:
        """Raises Interrupted (the service ends) or LeaseLost.  Cheap: reads a clock and two flags."""
        if self._stopping.is_set():
            raise Interrupted(f"run {self.id} is interrupted: the service ends")
        if self._lost or time.monotonic() > self._deadline:
            raise LeaseLost(f"run {self.id}: lease {self._claim.number} was not renewed in time")

    def renew(self) -> None:
        """Make the lease last from now on; what `check` trusts.  Raises LeaseLost, and `check` does from then on."""
        asked = time.monotonic()  # before the transaction: the row must outlive what we trust
        try:
            with self._records.begin() as tx:
                runs.renew(tx, self._claim, self._lease)
        except LeaseLost:
            self._lost = True
            raise
        self._trust(asked)

    def _trust(self, since: float) -> None:
        self._deadline = since + self._lease.total_seconds() * _TRUSTED
