"""The sealed copy in the repository of what only the service knows, kept up to date; and what a successor finds in it.

A chore compares what there is with what was written last, so a burst of changes becomes one copy, and no request
waits for the store or fails with it.  The newest digest of the log is put into the records on the way.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from restead.domain.errors import Damaged, ResteadError, Unavailable
from restead.domain.ids import ProjectId
from restead.domain.stock import Succession
from restead.records import Records, remembered, service_copy
from restead.repository import Repository, ServiceCopy
from restead.workflows.stock import take_stock, unheld

log = structlog.get_logger()

Json = dict[str, Any]

Servers = Callable[[], Sequence[Mapping[str, Any]]]
"""Returns the definitions of all servers that a driver keeps, as JSON."""

_TRIES = 5
_REST = 9  # times as long as the last copy took


class CopyKeeper:
    """Keeps the copy; call it often."""

    def __init__(
        self, records: Records, repository: Repository, servers: Servers, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._records = records
        self._repository = repository
        self._servers = servers
        self._seconds = seconds
        self._rests_until = float("-inf")
        self._took = 0.0  # seconds, by the last one
        self._looked: object = None  # what there was when we last looked closely
        self._warning = ""

    def warnings(self) -> list[str]:
        """Return what an operator should know."""
        return [self._warning] if self._warning else []

    def __call__(self, check: Callable[[], None]) -> None:
        """As `keep`, but for a tenth of the time at most: a copy holds all that there is, and takes as long."""
        check()
        began = self._seconds()
        if began >= self._rests_until:
            self.keep()
            ended = self._seconds()
            self._took = ended - began
            self._rests_until = ended + _REST * self._took

    def keep_last(self, within: timedelta) -> None:
        """As `keep`, unless the last one took longer than that: nobody waits for it, and the next start makes one."""
        if self._took <= within.total_seconds():
            self.keep()

    def keep(self) -> None:
        """Write a copy if what there is differs from the newest.  Never raises: it is tried again the next time."""
        warning = ""
        try:
            self._keep_digest()
            warning = self._keep_copy()
        except ResteadError as error:
            warning = f"what only this service knows could not be copied into the repository: {error.message}"
        if warning and warning != self._warning:
            log.warning(warning)
        self._warning = warning

    def _keep_digest(self) -> None:
        number, digest = self._repository.log.digest()
        with self._records.read() as tx:
            known = remembered.newest_digest(tx, self._repository.keyring.repository_id)[0]
        if number > known:
            with self._records.begin() as tx:
                remembered.keep_digest(tx, self._repository.keyring.repository_id, number, digest)

    def _keep_copy(self) -> str:
        servers = list(self._servers())
        with self._records.read() as tx:
            looked = service_copy.fingerprint(tx), servers
        if looked == self._looked and not self._warning:
            return ""
        if said := self._write(servers):
            return said
        self._looked = looked
        return ""

    def _write(self, servers: Sequence[Mapping[str, Any]]) -> str:
        """Make sure that the newest copy holds what there is; return why nothing was written."""
        copies, repository = self._repository.service_copies, self._repository.keyring.repository_id.hex()
        for _ in range(_TRIES):
            # The number before the rows: who erases a project puts a copy after he has changed them.  Either we see
            # them changed, or the number is taken.
            newest = max(copies.numbers(), default=0)
            service, parts = self._parts(servers)
            there = copies.copy(newest) if newest else None
            if there is not None and there.service != service:
                return (
                    f"the repository holds what another service knew (service/{newest}), and this one does not write "
                    "over it: restead repository adopt takes it over"
                )
            if there is not None and there.repository == repository and there.parts == parts:
                return ""
            number, digest = self._repository.log.digest()
            if copies.put(ServiceCopy(service, repository, number, digest, parts), newest + 1):
                log.debug("service copied into the repository", copy=newest + 1, backups=len(parts["backups"]))
                self._forget_old(newest + 1)
                return ""
        raise Unavailable(f"service/{newest + 1} was taken each of {_TRIES} times")

    def _parts(self, servers: Sequence[Mapping[str, Any]]) -> tuple[str, Json]:
        """Return who we are and what is to be kept: nothing of backups that the repository does not hold.

        Such a one may be of a project that is being erased, and a crash has left its row as it was.
        """
        # Left out before anything is made of their rows: they may be very many.
        besides = unheld(self._records, self._repository)
        with self._records.read() as tx:  # all rows are read: for so long nobody could write
            service, parts = remembered.own_id(tx), service_copy.parts(tx, besides)
        if service is None:
            with self._records.begin() as tx:
                service = remembered.service_id(tx)
        return service, {**parts, "servers": servers}

    def _forget_old(self, newest: int) -> None:
        try:
            self._repository.service_copies.forget_old(newest)
        except ResteadError as error:  # whoever may not delete leaves it to who may
            log.debug("old copies of the service stay", reason=error.message)


@dataclass(frozen=True, slots=True)
class Found:
    """The newest copy that can be read, and what was wrong with newer ones."""

    number: int
    copy: ServiceCopy
    damaged: Sequence[Damaged] = ()


def newest_copy(repository: Repository) -> Found | None:
    """Return the copy that a successor takes over, None if there is none.

    Raises:
        Damaged: there are some, and none can be read.
    """
    damaged: list[Damaged] = []
    for number, found in repository.service_copies.newest_first():
        if isinstance(found, ServiceCopy):
            return Found(number, found, damaged)
        damaged.append(found)
    if damaged:
        raise damaged[0]
    return None


def forget_project(records: Records, repository: Repository, project: ProjectId) -> int:
    """Let no copy tell of backups of that project which are not held, here and in the lists; return how many went.

    A copy without them is put, and all older ones are deleted.  Tokens of the project, and servers that are defined,
    are still the service's, and stay.  A copy that cannot be read goes with the older ones.

    Raises:
        Unavailable: copies are put faster than we can; or the store does not answer, or deletes nothing.
    """
    copies = repository.service_copies
    for _ in range(_TRIES):
        newest = max(copies.numbers(), default=0)
        found = next((found for _, found in copies.newest_first() if isinstance(found, ServiceCopy)), None)
        if found is None:
            return copies.forget_old(newest, kept=0)
        held = take_stock(records, repository).held  # after the copy was read: it knows no backup that rows do not
        others = [each for each in _backups(found.parts) if each.get("project_id") != project or each.get("id") in held]
        if copies.put(replace(found, parts=_only(found.parts, others)), newest + 1):
            return copies.forget_old(newest + 1, kept=1)
    raise Unavailable(f"service/{newest + 1} was taken each of {_TRIES} times")


def _backups(parts: Mapping[str, Any]) -> Sequence[Json]:
    found: Sequence[Json] = parts.get("backups", ())
    return found


def _only(parts: Mapping[str, Any], backups: Sequence[Json]) -> Json:
    """Return *parts* with no backups but these, and with the checkpoints that they are in."""
    inside = {each.get("checkpoint_id") for each in backups}
    checkpoints = [each for each in parts.get("checkpoints", ()) if each.get("id") in inside]
    return {**parts, "backups": backups, "checkpoints": checkpoints}


class Successor:
    """Becomes the service that wrote the newest copy."""

    def __init__(
        self, records: Records, repository: Repository, put_servers: Callable[[Sequence[Mapping[str, Any]]], list[str]]
    ) -> None:
        """*put_servers* stores the definitions of servers that are not there, and returns their names."""
        self._records = records
        self._repository = repository
        self._put_servers = put_servers

    def take_over(self) -> Succession | None:
        """Take over tokens, limits, policies and servers; None if there is no copy.  Repeatable.

        What the records of the same service say already stays as it is, and so do servers then: they are files, and
        were not lost with the records.

        Raises:
            Damaged: no copy can be read; or one that can does not hold what this program writes there; or the log is
                older than it.
        """
        found = newest_copy(self._repository)
        if found is None:
            return None
        copy = found.copy
        if copy.repository == self._repository.keyring.repository_id.hex():  # else it speaks of another's history
            self._repository.log.require(copy.head, copy.digest)
        with self._records.begin() as tx:
            same = remembered.service_id(tx) == copy.service
        servers = [] if same else self._put_servers(copy.parts.get("servers", ()))
        with self._records.begin() as tx:
            tokens, _ = service_copy.put_back(tx, copy.parts)
            policies = 0 if same else service_copy.put_back_policies(tx, copy.parts)  # else one may be deleted since
            remembered.become(tx, copy.service)
        damaged = tuple(error.message for error in found.damaged)
        return Succession(found.number, tokens, tuple(servers), damaged, policies)
