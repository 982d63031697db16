"""Reports: what an operator should know before it is too late."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from restead.calendar_times import FURTHEST, times
from restead.domain.caller import Action, Caller
from restead.domain.ids import ProjectId
from restead.domain.policy import Policy
from restead.domain.schedule import schedule
from restead.domain.unprotected import Unprotected, Wanted, unprotected
from restead.records import backups, policies
from restead.service.doors import Doors

_BEGINS_WITHIN = timedelta(minutes=1)  # a time that came due just now is not missed yet


class Reports:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def unprotected(self, caller: Caller, project_id: ProjectId) -> Sequence[Unprotected]:
        """Return the project's servers without a good backup younger than their policy, or without a policy.

        A backup counts if it can be restored, whoever asked for it; what a restore has overwritten does not.  A
        server that is being backed up has until that ends.

        Raises:
            Unavailable: the cloud does not say which servers there are.
        """
        caller.require(Action.POLICIES_LIST, project_id)
        servers = self._doors.servers.servers(project_id)
        with self._doors.records.read() as tx:
            there = policies.of_project(tx, project_id)
            newest, going_on = backups.newest_good(tx, project_id), backups.being_made(tx, project_id)
            now = tx.now
        late = self._doors.rules.schedule_jitter + _BEGINS_WITHIN
        wanted = {policy.id: _wanted(policy, now - late) for policy in there}
        return unprotected(servers, there, wanted, newest, going_on)


def _wanted(policy: Policy, now: datetime) -> Wanted:
    rules = schedule(policy.pattern, policy.start_time.date())
    for back in (timedelta(days=8), FURTHEST):  # most come often
        passed = times(rules, policy.start_time, max(policy.start_time, now - back), now)
        if len(passed) > 1:
            break
    last = passed[-1] if passed else None
    return Wanted(last, passed[-2] if len(passed) > 1 else None)
