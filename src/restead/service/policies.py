"""Policies: made, changed, run now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from restead.calendar_times import next_time
from restead.domain.backup import Backup, Checkpoint, ProtectedServer
from restead.domain.caller import Action, Caller
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import BackupId, ProjectId, ServerId, canonical_id, new_id
from restead.domain.listing import Page, Window
from restead.domain.policy import (
    Policy,
    PolicyChange,
    changed,
    check_limits,
    check_servers,
    only,
)
from restead.domain.retention import Candidate, Verdict, candidate, decide
from restead.domain.schedule import schedule
from restead.domain.states import BackupState
from restead.records import Transaction, backups, checkpoints, policies, policy_runs
from restead.records.policy_members import described, servers_of
from restead.records.policy_runs import PolicyRun
from restead.service.doors import Doors


@dataclass(frozen=True, slots=True)
class PolicyRunRequest:
    """What a caller asked to have run; types and shapes are checked already."""

    policy_id: str
    auto_trigger: bool = False
    server_ids: tuple[ServerId, ...] = ()  # (): all of the policy


@dataclass(frozen=True, slots=True)
class RetentionPreview:
    """What becomes of a policy's backups."""

    at: datetime
    after_a_run: bool  # which is supposed to succeed for every server
    verdicts: tuple[tuple[Backup, Verdict], ...]


class Policies:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def create(self, caller: Caller, project_id: ProjectId, wanted: PolicyChange) -> Policy:
        """Make a policy; its schedule runs from now on, if it is enabled.

        Raises:
            InvalidRequest: too many policies or servers, the name is in use, a server does not exist or is bound
                to another policy; or the schedule is none.
        """
        caller.require(Action.POLICIES_CREATE, project_id)
        assert wanted.name is not None, "the API asks for one"
        servers = self._known(project_id, wanted.servers or ())
        with self._doors.records.begin() as tx:
            schedule(wanted.operation.pattern or "", tx.now.date())
            check_limits(self._doors.rules.policies, policies=policies.count(tx, project_id), servers=len(servers))
            _check_name(tx, project_id, wanted.name)
            _check_free(tx, project_id, servers, None)
            bare = Policy(
                id=new_id(), project_id=project_id, name=wanted.name, created_at=tx.now, updated_at=tx.now,
                operation_id=new_id(), trigger_id=new_id(), pattern="", start_time=tx.now, considered_until=tx.now,
            )  # fmt: skip
            policy = changed(bare, wanted, tx.now)
            policies.add(tx, policy)
        return policy

    def list(self, caller: Caller, project_id: ProjectId, name: str | None, window: Window) -> Page[Policy]:
        where = caller.scope(Action.POLICIES_LIST, project_id, all_projects=window.all_projects)
        with self._doors.records.read() as tx:
            return policies.list_policies(tx, where, name, window)

    def policy(self, caller: Caller, project_id: ProjectId, id: str) -> Policy:
        """Return one.  Raises NotFound, also for another project's."""
        caller.require(Action.POLICIES_GET, project_id)
        with self._doors.records.read() as tx:
            return policies.policy(tx, project_id, id)

    def update(self, caller: Caller, project_id: ProjectId, id: str, wanted: PolicyChange) -> Policy:
        """Change a policy; what is under way is not affected.  Raises as `create`, and NotFound."""
        caller.require(Action.POLICIES_UPDATE, project_id)
        with self._doors.records.read() as tx:
            there = policies.policy(tx, project_id, id)
        if wanted.servers is not None:
            listed = {canonical_id(server.id) for server in there.servers}
            self._known(project_id, [each for each in wanted.servers if canonical_id(each.id) not in listed])
        with self._doors.records.begin() as tx:
            there = policies.policy(tx, project_id, id)
            if wanted.operation.pattern is not None:
                schedule(wanted.operation.pattern, there.start_time.date())
            policy = changed(there, wanted, tx.now)
            check_servers(self._doors.rules.policies, len(policy.servers))
            _check_name(tx, project_id, policy.name, policy.id)
            _check_free(tx, project_id, policy.servers, policy.id)
            policies.update(tx, policy)
        return policy

    def delete(self, caller: Caller, project_id: ProjectId, id: str) -> None:
        """Take a policy away, at once; its backups stay, and nothing removes them any more.  Raises NotFound."""
        caller.require(Action.POLICIES_DELETE, project_id)
        with self._doors.records.begin() as tx:
            policies.delete(tx, policies.policy(tx, project_id, id))

    def run(self, caller: Caller, project_id: ProjectId, request: PolicyRunRequest) -> Checkpoint:
        """Promise a run of the policy now, whether or not its schedule is enabled.

        Raises:
            NotFound: there is no such policy.
            InvalidRequest: a server is not the policy's (CSBS.9001), there is none (CSBS.6032), a run of it goes on
                (CSBS.1001, CSBS.6030), or the quota is used up (CSBS.9006).  Nothing was changed.
            Unavailable: no server could be looked at.
        """
        caller.require(Action.BACKUPS_CREATE, project_id)
        with self._doors.records.read() as tx:
            policy = policies.policy(tx, project_id, request.policy_id)
        there = servers_of(self._doors.records, self._doors.servers, policy)
        servers = described(self._doors.servers, policy, only(request.server_ids, there, policy))
        with self._doors.records.begin() as tx:
            policy = policies.policy(tx, project_id, policy.id)
            _check_no_run(tx, policy)
            rules = self._doors.rules
            run = PolicyRun(policy, servers, rules.backup, rules.quotas, auto_trigger=request.auto_trigger)
            checkpoint, promised = policy_runs.begin(tx, run)
        for run_id in promised:
            self._doors.submit(run_id)
        with self._doors.records.read() as tx:
            return checkpoints.checkpoint(tx, project_id, checkpoint.id)

    def preview(self, caller: Caller, project_id: ProjectId, id: str) -> RetentionPreview:
        """Return what becomes of all that the policy has made once its next run has succeeded.

        If its schedule is switched off: when it is looked at next.

        Raises:
            NotFound: there is no such policy.
            Unavailable: which servers it selects cannot be told now.
        """
        caller.require(Action.POLICIES_GET, project_id)
        with self._doors.records.read() as tx:
            policy, now = policies.policy(tx, project_id, id), tx.now
        following = _next(policy, now) if policy.enabled else None
        servers = servers_of(self._doors.records, self._doors.servers, policy) if following else ()
        with self._doors.records.read() as tx:
            made = backups.of_policy(tx, policy.id)
        at = following or now
        coming = [
            Candidate(BackupId(f"next/{server.id}"), canonical_id(server.id), at, BackupState.AVAILABLE)
            for server in servers
        ]
        verdicts = decide(policy.keep, [*map(candidate, made), *coming], at)
        return RetentionPreview(at, following is not None, tuple(zip(made, verdicts, strict=False)))

    def _known(self, project_id: ProjectId, servers: Sequence[ProtectedServer]) -> Sequence[ProtectedServer]:
        """Return *servers* if each exists.  Raises InvalidRequest: CSBS.6000; Unavailable."""
        for server in servers:
            if self._doors.server(project_id, server.id) is None:
                raise InvalidRequest(f"server {server.id[:64]} does not exist", code=Code.SERVER_NOT_FOUND)
        return servers


def _next(policy: Policy, now: datetime) -> datetime | None:
    return next_time(schedule(policy.pattern, policy.start_time.date()), policy.start_time, now)


def _check_name(tx: Transaction, project_id: ProjectId, name: str, own: str | None = None) -> None:
    there = policies.named(tx, project_id, name)
    if there not in (None, own):
        raise InvalidRequest(f"policy {there} is named {name} already", code=Code.POLICY_NAME_IN_USE)


def _check_free(
    tx: Transaction, project_id: ProjectId, servers: Sequence[ProtectedServer], own: str | None
) -> None:
    bound = policies.bound(tx, project_id)
    for server in servers:
        there = bound.get(canonical_id(server.id))
        if there not in (None, own):
            raise InvalidRequest(
                f"server {server.id} is bound to policy {there}: take it out of that one first",
                code=Code.SERVER_BOUND_ELSEWHERE,
            )


def _check_no_run(tx: Transaction, policy: Policy) -> None:
    going_on = policies.run_under_way(tx, policy.id)
    if going_on is None:
        return
    scheduled = going_on.extra_info == policy_runs.SCHEDULED
    code = Code.SCHEDULED_RUN_UNDER_WAY if scheduled else Code.MANUAL_RUN_UNDER_WAY
    how = "scheduled" if scheduled else "manual"
    raise InvalidRequest(f"the {how} run {going_on.id} of policy {policy.id} is still going on", code=code)
