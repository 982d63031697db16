"""Schedules: at each look, what has come due since the last one is started, once.

Up to where a policy's schedule is dealt with stands in its row, so a restart goes on where the service ended.  Of the
times that passed meanwhile the last one is run, for all of them; one that was dealt with is in the rows for good, so it
never comes again, whichever service looks and wherever the clock is set.  What was left out, and why, is in the log.

A clock that was set back makes a policy go on from the new time: what has run does not run again, what has not does.
One that was set forward makes one run, and only that time is taken as dealt with.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from restead.calendar_times import times
from restead.domain.backup import BackupRules, Failure
from restead.domain.errors import Code, InvalidRequest, ResteadError
from restead.domain.ids import BackupId, RunId
from restead.domain.policy import Policy
from restead.domain.quota import QuotaLimits
from restead.domain.schedule import schedule
from restead.domain.states import Event
from restead.domain.wording import count_of
from restead.ports import Servers
from restead.records import Records, RecordsUnavailable, Transaction, backups, operations, policies, policy_runs, runs
from restead.records.policy_members import Described, described, servers_of
from restead.records.policy_runs import PolicyRun

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """What has come due of a policy: the last of these times is run, if the window has not ended."""

    times: Sequence[datetime]
    ends: datetime | None  # when the window of the last one ends

    @property
    def last(self) -> datetime:
        return self.times[-1]


class Scheduler:
    """Starts what has come due; call it often."""

    def __init__(
        self,
        records: Records,
        cloud: Servers,
        submit: Callable[[RunId], None],
        rules: BackupRules = BackupRules(),
        quotas: QuotaLimits = QuotaLimits(),
        jitter: timedelta = timedelta(0),
    ) -> None:
        """*jitter*: by how much a start may come later than its time; another for each policy and time."""
        self._records = records
        self._cloud = cloud
        self._submit = submit
        self._rules = rules
        self._quotas = quotas
        self._jitter = jitter
        self._said: dict[str, str] = {}  # why policies could not be run at the last look, as the log tells

    def __call__(self, check: Callable[[], None]) -> None:
        self._give_up()
        with self._records.read() as tx:
            scheduled = policies.scheduled(tx)
        said = {}
        for policy in scheduled:
            check()
            try:
                self._look(policy)
            except RecordsUnavailable:
                raise
            except ResteadError as error:  # of this policy alone; at the next look it is tried again
                self._say(policy, error)
                said[policy.id] = error.message
        self._said = said

    def _say(self, policy: Policy, error: ResteadError) -> None:
        """Say it loudly once, and not at each look: that is every ten seconds."""
        say = log.debug if self._said.get(policy.id) == error.message else log.warning
        say("a policy cannot be run now", policy=policy.id, reason=error.message, detail=error.detail)

    def _look(self, policy: Policy) -> None:
        with self._records.read() as tx:
            now = tx.now
        if now < policy.considered_until:
            self._set_back(policy)
            return
        due = self._due(policy, now)
        if due is None:
            return
        late = due.ends is not None and now >= due.ends
        servers = [] if late else described(self._cloud, policy, servers_of(self._records, self._cloud, policy))
        with self._records.begin() as tx:
            begun = self._start(tx, policy, due, servers)
        for run_id in begun:
            self._submit(run_id)

    def _due(self, policy: Policy, now: datetime) -> Due | None:
        rules = schedule(policy.pattern, policy.start_time.date())
        passed = times(rules, policy.start_time, policy.considered_until, now)
        started = [time for time in passed if time + self._later(policy, time) <= now]
        if not started:
            return None
        minutes = policy.keep.window_minutes
        return Due(started, None if minutes is None else started[-1] + timedelta(minutes=minutes))

    def _later(self, policy: Policy, time: datetime) -> timedelta:
        """Return by how much that start comes later: the same at every look, in every service.

        By half of the policy's window at most, so that none is put off until it may not begin any more.
        """
        window = policy.keep.window_minutes
        jitter = self._jitter if window is None else min(self._jitter, timedelta(minutes=window) / 2)
        seconds = int(jitter.total_seconds())
        digest = hashlib.sha256(f"{policy.id} {time.isoformat()}".encode()).digest()
        return timedelta(seconds=int.from_bytes(digest[:8], "big") % (seconds + 1))

    def _set_back(self, policy: Policy) -> None:
        with self._records.begin() as tx:
            policies.consider(tx, policy.id, min(tx.now, policy.considered_until))
        log.warning("the clock was set back", policy=policy.id, considered_until=policy.considered_until.isoformat())

    def _start(self, tx: Transaction, policy: Policy, due: Due, servers: Sequence[Described]) -> Sequence[RunId]:
        """Deal with what has come due, unless somebody has, or the policy was changed meanwhile."""
        there = policies.find(tx, policy.id)
        if there is None or not there.enabled or there.updated_at != policy.updated_at:
            return ()
        policies.consider(tx, policy.id, due.last)
        if not policies.deal_with(tx, policy.id, due.last):
            return ()
        if len(due.times) > 1:
            policy_runs.skip(tx, policy, Code.UNAVAILABLE, (
                f"{count_of(len(due.times) - 1, 'time')} passed while nothing could be run, the first at "
                f"{_at(due.times[0])}; the one of {_at(due.last)} stands for them"
            ))  # fmt: skip
        return self._run(tx, policy, due, servers)

    def _run(self, tx: Transaction, policy: Policy, due: Due, servers: Sequence[Described]) -> Sequence[RunId]:
        going_on = policies.run_under_way(tx, policy.id)
        if due.ends is not None and tx.now >= due.ends:
            self._skip(tx, policy, due, Code.UNAVAILABLE, f"its window had ended at {_at(due.ends)}")
        elif going_on is not None:
            scheduled = going_on.extra_info == policy_runs.SCHEDULED
            code = Code.SCHEDULED_RUN_UNDER_WAY if scheduled else Code.MANUAL_RUN_UNDER_WAY
            how = "scheduled" if scheduled else "manual"
            self._skip(tx, policy, due, code, f"the {how} run {going_on.id} is still going on")
        else:
            run = PolicyRun(policy, servers, self._rules, self._quotas, auto_trigger=True, scheduled_at=due.last,
                            not_after=due.ends)  # fmt: skip
            try:
                checkpoint, begun = policy_runs.begin(tx, run)
            except InvalidRequest as error:
                self._skip(tx, policy, due, error.code, error.message)
            else:
                log.info("a policy runs", policy=policy.id, time=_at(due.last), checkpoint=checkpoint.id,
                         servers=len(servers), begun=len(begun))  # fmt: skip
                return begun
        return ()

    def _skip(self, tx: Transaction, policy: Policy, due: Due, code: Code, why: str) -> None:
        reason = f"the run of {_at(due.last)} is left out: {why}"
        log.warning("a run of a policy is left out", policy=policy.id, reason=reason)
        policy_runs.skip(tx, policy, code, reason)

    def _give_up(self) -> None:
        """End the backups whose window ended before they began: they wait for the next time."""
        with self._records.begin() as tx:
            for run_id, backup_id, ended in runs.give_up_overdue(tx):
                failure = Failure(Code.UNAVAILABLE, f"its window ended at {_at(ended)}, before it could begin; "
                                                    "it waits for the next time")  # fmt: skip
                _fail(tx, run_id, backup_id, failure)
                log.warning("a backup did not begin within its window", backup=backup_id)


def _fail(tx: Transaction, run_id: RunId, backup_id: BackupId, failure: Failure) -> None:
    backups.move(
        tx, backup_id, Event.FAILED,
        lambda row: replace(row, failed_operation="backup", failure=failure, finished_at=tx.now),
    )  # fmt: skip
    operations.skipped(tx, run_id, failure)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
