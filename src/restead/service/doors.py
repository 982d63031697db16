"""What the service works with: the records, the cloud's servers, and a way to say that a run waits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from restead.domain.backup import Backup, BackupRules
from restead.domain.errors import NotFound
from restead.domain.ids import ProjectId, RunId, ServerId
from restead.domain.policy import PolicyLimits
from restead.domain.quota import QuotaLimits
from restead.domain.restore import Comparison, RestorePlan, ZoneRule, any_zone
from restead.domain.server import Server
from restead.ports import Notifier, Servers
from restead.records import Records


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator has decided."""

    backup: BackupRules = field(default_factory=BackupRules)
    zones: ZoneRule = any_zone
    quotas: QuotaLimits = field(default_factory=QuotaLimits)
    restores_without_safety: bool = True  # whether callers may ask for them
    policies: PolicyLimits = field(default_factory=PolicyLimits)
    schedule_jitter: timedelta = timedelta(0)  # by how much runs of policies may begin late


@dataclass(frozen=True, slots=True)
class Doors:
    """Shared by all nouns of the service."""

    records: Records
    servers: Servers
    submit: Callable[[RunId], None]  # called after the commit; a run whose call is lost is found in the rows
    rules: Rules
    compare: Callable[[ProjectId, RestorePlan], Sequence[Comparison | None]]  # reads the disks of a stopped server
    hold: Callable[[Backup, datetime], None]  # binds all who work with the repository, not only us; repeatable
    recipients: Mapping[str, Notifier]  # who is told what happens, by name

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server | None:
        """Return the server as its cloud describes it, None if the project has none.  Raises Unavailable."""
        try:
            return self.servers.server(project_id, server_id)
        except NotFound:
            return None
