"""Quotas: how much a project may keep, and does."""

from collections.abc import Sequence

from restead.domain.caller import Action, Caller
from restead.domain.ids import ProjectId
from restead.domain.quota import Quota, quotas
from restead.records import backups
from restead.service.doors import Doors


class Quotas:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def quotas(self, caller: Caller, project_id: ProjectId) -> Sequence[Quota]:
        caller.require(Action.QUOTAS_GET, project_id)
        with self._doors.records.read() as tx:
            number, stored = backups.usage(tx, project_id)
        return quotas(self._doors.rules.quotas, backups=number, stored=stored)
