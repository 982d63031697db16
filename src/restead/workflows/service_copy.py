"""The sealed copy in the repository of what only the service knows, kept up to date; and what a successor finds in it.

A chore compares what there is with what was written last, so a burst of changes becomes one copy, and no request
waits for the store or fails with it.  The newest digest of the log is put into the records on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from restead.domain.errors import Damaged, ResteadError, Unavailable
from restead.domain.ids import ProjectId
from restead.domain.stock import Succession
from restead.records import Records, remembered, service_copy
from restead.repository import Repository, ServiceCopy

log = structlog.get_logger()

Servers = Callable[[], Sequence[Mapping[str, Any]]]
"""Returns the definitions of all servers that a driver keeps, as JSON."""

_TRIES = 5


class CopyKeeper:
    """Keeps the copy; call it often."""

    def __init__(self, records: Records, repository: Repository, servers: Servers) -> None:
        self._records = records
        self._repository = repository
        self._servers = servers
        self._looked: object = None  # what there was when we last looked closely
        self._warning = ""

    def warnings(self) -> list[str]:
        """Return what an operator should know."""
        return [self._warning] if self._warning else []

    def __call__(self, check: Callable[[], None]) -> None:
        check()
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
        with self._records.begin() as tx:
            service = remembered.service_id(tx)
            parts = {**service_copy.parts(tx), "servers": servers}
        if said := self._write(service, parts):
            return said
        self._looked = looked
        return ""

    def _write(self, service: str, parts: Mapping[str, Any]) -> str:
        """Make sure that the newest copy holds *parts*; return why nothing was written."""
        copies, repository = self._repository.service_copies, self._repository.keyring.repository_id.hex()
        for _ in range(_TRIES):
            newest = max(copies.numbers(), default=0)
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


def forget_project(repository: Repository, project: ProjectId) -> int:
    """Let no copy tell of that project's backups: put one without them, delete all older ones; return how many.

    Tokens of the project, and servers that are defined, are still the service's, and stay.  A copy that cannot be read
    goes with the older ones.

    Raises:
        Unavailable: copies are put faster than we can; or the store does not answer, or deletes nothing.
    """
    copies = repository.service_copies
    for _ in range(_TRIES):
        newest = max(copies.numbers(), default=0)
        found = next((found for _, found in copies.newest_first() if isinstance(found, ServiceCopy)), None)
        if found is None:
            return copies.forget_old(newest, kept=0)
        without = replace(found, parts={name: _less(name, part, project) for name, part in found.parts.items()})
        if copies.put(without, newest + 1):
            return copies.forget_old(newest + 1, kept=1)
    raise Unavailable(f"service/{newest + 1} was taken each of {_TRIES} times")


def _less(name: str, part: Any, project: ProjectId) -> Any:
    if name not in ("backups", "checkpoints"):
        return part
    return [each for each in part if each.get("project_id") != project]


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
