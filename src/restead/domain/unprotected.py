"""Servers that would be missed: without a good backup younger than their policy, or without a policy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from restead.domain.ids import canonical_id
from restead.domain.policy import Policy, members
from restead.domain.server import Server


@dataclass(frozen=True, slots=True)
class Unprotected:
    """A server, and why its loss would lose more than it may."""

    server: Server
    policy: Policy | None
    last_good: datetime | None  # the moment that its newest good backup shows
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """From when on a backup of a policy's servers has to be."""

    last: datetime | None  # the last time that came due, None if none has
    before: datetime | None  # the one before it


def unprotected(
    servers: Sequence[Server],
    policies: Sequence[Policy],
    wanted: Mapping[str, Wanted],
    newest: Mapping[str, datetime],
    going_on: Collection[str],
) -> list[Unprotected]:
    """Return those of *servers* that are not protected.

    *wanted*: by id of the policy.  *newest*: the moment of the newest good backup, by the server's canonical id.
    *going_on*: canonical ids of the servers that are being backed up: they have until that ends.
    """
    bound = {canonical_id(server.id) for policy in policies for server in policy.servers}
    theirs: dict[str, Policy] = {}
    for policy in sorted(policies, key=lambda each: not each.enabled):  # one whose schedule runs counts
        for member in members(policy, servers, bound):
            theirs.setdefault(canonical_id(member.id), policy)
    found = []
    for server in servers:
        key = canonical_id(server.id)
        policy_of, last_good = theirs.get(key), newest.get(key)
        reason = _reason(policy_of, wanted, last_good, key in going_on)
        if reason:
            found.append(Unprotected(server, policy_of, last_good, reason))
    return found


def _reason(
    policy: Policy | None, wanted: Mapping[str, Wanted], last_good: datetime | None, going_on: bool
) -> str:
    if policy is None:
        return "no policy backs it up"
    if not policy.enabled:
        return f"the schedule of its policy {policy.name} is switched off"
    times = wanted[policy.id]
    if last_good is None:
        return "being backed up for the first time" if going_on else "it has no good backup"
    since = times.before if going_on else times.last
    if since is not None and last_good < since:
        return f"its newest good backup is older than {since:%Y-%m-%d %H:%M:%S} UTC, when policy {policy.name} was due"
    return ""
