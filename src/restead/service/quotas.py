"""Quotas: how much a project may keep, and does."""

from collections.abc import Sequence

from restead.domain.caller import Action, Caller
from restead.domain.ids import ProjectId
from restead.domain.quota import Quota, quotas
from restead.records import backups
from restead.records import quotas as rows
from restead.service.doors import Doors


class Quotas:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def quotas(self, caller: Caller, project_id: ProjectId) -> Sequence[Quota]:
        caller.require(Action.QUOTAS_GET, project_id)
        with self._doors.records.read() as tx:
            number, stored = backups.usage(tx, project_id)
            limits = rows.limits(tx, project_id, self._doors.rules.quotas)
        return quotas(limits, backups=number, stored=stored)

    def stored(self, caller: Caller, project_id: ProjectId) -> int:
        """Return how many bytes the project's backups have added to the repository: what the quota rounds."""
        caller.require(Action.QUOTAS_GET, project_id)
        with self._doors.records.read() as tx:
            return backups.usage(tx, project_id)[1]
