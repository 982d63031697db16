"""A policy: when which servers are backed up, and what of that is kept."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from restead.domain.backup import ProtectedServer
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import ProjectId, canonical_id
from restead.domain.server import Server
from restead.domain.tag import Tag
from restead.domain.wording import count_of


@dataclass(frozen=True, slots=True)
class Keep:
    """What to keep for each server, of the backups that the schedule made; None: not set (CSBS, section 10.1)."""

    max_backups: int | None = None  # -1: no limit by number
    retention_duration_days: int | None = None  # -1: no limit by age
    permanent: bool | None = None
    day_backups: int | None = None
    week_backups: int | None = None
    month_backups: int | None = None
    year_backups: int | None = None
    timezone: str | None = None  # UTC±HH:MM: where days, weeks, months and years begin
    window_minutes: int | None = None  # our extension: what has not begun so long after its time waits for the next

    @property
    def calendar(self) -> Mapping[str, int]:
        """The day, week, month and year rules that are set."""
        found = {name: getattr(self, f"{name}_backups") for name in ("day", "week", "month", "year")}
        return {name: number for name, number in found.items() if number}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which servers a policy takes besides those it lists: our extension."""

    every: bool = False  # all of the project
    tags: tuple[Tag, ...] = ()  # those that have all of these

    def takes(self, server: Server) -> bool:
        return self.every or (bool(self.tags) and all((tag.key, tag.value) in server.tags for tag in self.tags))


@dataclass(frozen=True, slots=True)
class Policy:
    """When to back up which servers, and what to keep."""

    id: str
    project_id: ProjectId
    name: str
    created_at: datetime
    updated_at: datetime
    operation_id: str
    trigger_id: str
    pattern: str  # as it was sent
    start_time: datetime  # creation of the schedule, from which days are counted
    considered_until: datetime  # what the schedule says up to then was started, or is over
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: {"common": {}}, hash=False)
    servers: tuple[ProtectedServer, ...] = ()
    selection: Selection | None = None
    tags: tuple[Tag, ...] = ()
    operation_name: str = "default"
    operation_description: str = ""
    enabled: bool = True
    keep: Keep = field(default_factory=Keep)
    retained_at: datetime | None = None  # when it was last looked what is to be kept

    def lists(self, server: Server) -> bool:
        return canonical_id(server.id) in {canonical_id(each.id) for each in self.servers}


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """What an operator allows each project."""

    policies: int = 32  # CSBS, section 10.4
    servers: int = 64  # that one policy lists


@dataclass(frozen=True, slots=True)
class OperationChange:
    """What a caller wants of the one scheduled operation; None: as it is."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    enabled: bool | None = None
    keep: Keep | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a caller wants of a policy; None: as it is."""

    name: str | None = None
    description: str | None = None
    servers: tuple[ProtectedServer, ...] | None = None
    selection: Selection | None = None
    parameters: dict[str, Any] | None = field(default=None, hash=False)
    operation: OperationChange = OperationChange()
    tags: tuple[Tag, ...] | None = None


def changed(policy: Policy, wanted: PolicyChange, now: datetime) -> Policy:
    """Return the policy as it is after that.  A schedule that is switched on, or changed, begins now.

    Raises:
        InvalidRequest: the scheduled operation is not its own.
    """
    operation = wanted.operation
    if operation.id is not None and canonical_id(operation.id) != policy.operation_id:
        raise InvalidRequest(
            f"scheduled_operations[0].id: {operation.id[:64]!r} is not {policy.operation_id}, the one of policy "
            f"{policy.id}"
        )
    anew = operation.pattern not in (None, policy.pattern) or (operation.enabled and not policy.enabled)
    changes: dict[str, Any] = {
        "name": wanted.name, "description": wanted.description, "servers": wanted.servers,
        "parameters": wanted.parameters, "tags": wanted.tags, "operation_name": operation.name,
        "operation_description": operation.description, "enabled": operation.enabled, "keep": operation.keep,
        "pattern": operation.pattern, "considered_until": now if anew else None,
    }  # fmt: skip
    made = replace(policy, updated_at=now, **{name: value for name, value in changes.items() if value is not None})
    if wanted.selection is not None:
        nothing = wanted.selection == Selection()
        made = replace(made, selection=None if nothing else wanted.selection)
    return made


def members(policy: Policy, there: Sequence[Server], bound: Collection[str]) -> tuple[ProtectedServer, ...]:
    """Return the servers of a policy: those it lists, and those it selects of *there*, all of the project.

    *bound*: canonical ids of the servers that some policy lists; another's are not taken.
    """
    if policy.selection is None:
        return policy.servers
    selected = (
        ProtectedServer(server.id, server.name)
        for server in there
        if policy.selection.takes(server) and canonical_id(server.id) not in bound
    )
    return (*policy.servers, *selected)


def only(wanted: Sequence[str], servers: Sequence[ProtectedServer], policy: Policy) -> tuple[ProtectedServer, ...]:
    """Return those of *servers* whose ids are *wanted*; all of them if none is.

    Raises:
        InvalidRequest: one is not bound to the policy.
    """
    by_key = {canonical_id(server.id): server for server in servers}
    for id in wanted:
        if canonical_id(id) not in by_key:
            raise InvalidRequest(f"parameters.resources: server {id[:64]} is not bound to policy {policy.id}")
    keys = {canonical_id(id) for id in wanted}
    return tuple(server for key, server in by_key.items() if key in keys or not keys)


def check_limits(limits: PolicyLimits, *, policies: int, servers: int) -> None:
    """Return if a project that has so many *policies* may have one more, which lists so many *servers*.

    Raises:
        InvalidRequest: CSBS.0001, or a parameter is wrong.
    """
    check_servers(limits, servers)
    if policies >= limits.policies:
        raise InvalidRequest(
            f"the project has {count_of(policies, 'policy', 'policies')}, and may have {limits.policies}",
            code=Code.TOO_MANY_POLICIES,
        )


def check_servers(limits: PolicyLimits, servers: int) -> None:
    """Return if a policy may list so many servers.  Raises InvalidRequest."""
    if servers > limits.servers:
        raise InvalidRequest(f"resources: {count_of(servers, 'server')} listed, a policy may list {limits.servers}")
