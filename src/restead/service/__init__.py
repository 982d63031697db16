"""The front door: one method for each thing a caller can ask.

Every method first asks whether the caller may; then it decides (the plans of `domain`) and promises: one
transaction holds the rows and the run that will make them true.  It returns before bytes move.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from restead.domain.backup import Backup
from restead.domain.ids import ProjectId, RunId
from restead.domain.restore import Comparison, RestorePlan
from restead.ports import Notifier
from restead.ports import Servers as ServersPort
from restead.records import Records
from restead.service.backups import Backups
from restead.service.capabilities import Capabilities, Target
from restead.service.checkpoints import Checkpoints
from restead.service.doors import Doors, Rules
from restead.service.figures import Figures
from restead.service.notices import Notices
from restead.service.operations import Operations
from restead.service.policies import Policies
from restead.service.quotas import Quotas
from restead.service.reports import Reports
from restead.service.restores import Restores
from restead.service.servers import Servers
from restead.service.tags import Tags
from restead.service.trail import Trail
from restead.service.verifications import Verifications

__all__ = ["Rules", "Service", "Target"]


def _compare_nothing(_project_id: ProjectId, plan: RestorePlan) -> Sequence[Comparison | None]:
    """What can be found out where no disk can be read."""
    return [None] * len(plan.volumes)


def _hold_in_rows_only(_backup: Backup, _until: datetime) -> None:
    """What can be done where there is no repository."""


class Service:
    """Everything a caller can ask, by noun."""

    def __init__(
        self,
        records: Records,
        servers: ServersPort,
        submit: Callable[[RunId], None],
        rules: Rules | None = None,
        compare: Callable[[ProjectId, RestorePlan], Sequence[Comparison | None]] = _compare_nothing,
        hold: Callable[[Backup, datetime], None] = _hold_in_rows_only,
        recipients: Mapping[str, Notifier] = MappingProxyType({}),
    ) -> None:
        """*submit* says that a run waits.  *compare* finds out, by reading, what a restore would change.  *hold* lets
        the repository keep a backup.  *recipients* are told what happens."""
        doors = Doors(records, servers, submit, rules or Rules(), compare, hold, recipients)
        self.checkpoints = Checkpoints(doors)
        self.backups = Backups(doors)
        self.restores = Restores(doors)
        self.capabilities = Capabilities(doors)
        self.quotas = Quotas(doors)
        self.servers = Servers(doors)
        self.policies = Policies(doors)
        self.reports = Reports(doors)
        self.tags = Tags(doors)
        self.operations = Operations(doors)
        self.notices = Notices(doors)
        self.trail = Trail(doors)
        self.verifications = Verifications(doors)
        self.figures = Figures(doors)
