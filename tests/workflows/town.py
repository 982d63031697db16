"""A town with a clock of its own: records, a cloud, who keeps schedules and what they made; no run is worked on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.fakes.cloud import MemoryCloud

from restead.domain.backup import Backup, Failure, ProtectedServer
from restead.domain.caller import Caller, Role
from restead.domain.ids import ProjectId, RunId
from restead.domain.listing import BackupFilter, Order, Window
from restead.domain.operation import Operation, OperationFilter
from restead.domain.policy import Keep, OperationChange, Policy, PolicyChange
from restead.domain.server import Server
from restead.domain.states import BackupState, Event, OperationState
from restead.records import Records, backups
from restead.service import Service
from restead.workflows import PolicyRetention, Scheduler

P = ProjectId("p")
NIGHTLY = "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30"
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Town:
    """Records, a cloud and a scheduler under a clock that stands still unless a test moves it."""

    def __init__(self, database: str, **scheduler: object) -> None:
        self.now = MIDNIGHT
        self.records = Records.open(database, clock=lambda: self.now)
        self.cloud = MemoryCloud()
        self.submitted: list[RunId] = []
        self.service = Service(self.records, self.cloud, self.submitted.append)
        self.caller = Caller("u", P, frozenset({Role.MEMBER}))
        self.retention = PolicyRetention(self.records, self.submitted.append)
        self.scheduler = Scheduler(self.records, self.cloud, self.submitted.append, **scheduler)  # type: ignore[arg-type]

    def close(self) -> None:
        self.records.close()

    def server(self, name: str = "web-1") -> Server:
        return self.cloud.add(P, [4096], name)

    def policy(self, *servers: Server, pattern: str = NIGHTLY, name: str = "nightly", keep: Keep = Keep()) -> Policy:
        listed = tuple(ProtectedServer(server.id, server.name) for server in servers)
        wanted = PolicyChange(name=name, servers=listed, operation=OperationChange(pattern=pattern, keep=keep))
        return self.service.policies.create(self.caller, P, wanted)

    def look(self, at: datetime | None = None) -> None:
        self.now = at or self.now
        self.scheduler(lambda: None)

    def every_minutes(self, minutes: int, until: datetime) -> None:
        """Look again and again while the clock goes on."""
        while self.now < until:
            self.look(self.now + timedelta(minutes=minutes))
            self.finish()

    def finish(self, failure: Failure | None = None) -> None:
        """Bring what is under way to its end: good, or failed."""
        for backup in self.backups():
            if backup.state is BackupState.PROTECTING:
                self._end(backup, failure)

    def _end(self, backup: Backup, failure: Failure | None) -> None:
        with self.records.begin() as tx:
            if failure is None:
                backups.move(tx, backup.id, Event.PROTECTED, lambda row: replace(
                    row, protected_at=self.now, finished_at=self.now))  # fmt: skip
            else:
                backups.move(tx, backup.id, Event.FAILED, lambda row: replace(
                    row, failure=failure, failed_operation="backup", finished_at=self.now))  # fmt: skip

    def backups(self) -> list[Backup]:
        window = Window(order=(Order("created_at", descending=False),))
        return list(self.service.backups.list(self.caller, P, BackupFilter(), window).items)

    def times(self) -> list[str]:
        """For which times backups were begun, in order."""
        return [f"{each.scheduled_at:%d %H:%M}" for each in self.backups() if each.scheduled_at]

    def log(self, state: OperationState = OperationState.SKIPPED) -> list[Operation]:
        page = self.service.operations.list(self.caller, P, OperationFilter(state=state), Window())
        return list(page.items)

    def reasons(self) -> list[str]:
        return [each.failure.message for each in self.log() if each.failure]
