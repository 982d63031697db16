"""The servers of a policy: those its row lists and those it selects, each as its cloud describes it now."""

from collections.abc import Sequence

from restead.domain.backup import Failure, ProtectedServer
from restead.domain.errors import Code, NotFound, Unavailable
from restead.domain.policy import Policy, members
from restead.domain.server import Server
from restead.ports import Servers
from restead.records import policies
from restead.records.database import Records

Described = tuple[ProtectedServer, Server | Failure]
"""A server of a policy, as its cloud describes it or why it could not be looked at."""


def servers_of(records: Records, cloud: Servers, policy: Policy) -> tuple[ProtectedServer, ...]:
    """Return which servers the policy has now.  Raises Unavailable."""
    if policy.selection is None:
        return policy.servers
    there = cloud.servers(policy.project_id)
    with records.read() as tx:
        return members(policy, there, policies.bound(tx, policy.project_id))


def described(cloud: Servers, policy: Policy, chosen: Sequence[ProtectedServer]) -> list[Described]:
    """Return these servers of the policy, described.  Raises Unavailable if none of them can be looked at now."""
    found: list[Described] = []
    away: Unavailable | None = None
    for server in chosen:
        try:
            found.append((server, cloud.server(policy.project_id, server.id)))
        except NotFound:
            gone = Failure(Code.SERVER_NOT_FOUND, f"server {server.id} does not exist any more")
            found.append((server, gone))
        except Unavailable as error:
            away = error
            found.append((server, Failure(error.code, error.message)))
    if away is not None and not any(isinstance(each, Server) for _, each in found):
        raise away
    return found
