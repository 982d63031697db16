"""The operation log: what was done, or left undone, and what came of it."""

from restead.domain.caller import Action, Caller
from restead.domain.ids import ProjectId
from restead.domain.listing import Page, Window
from restead.domain.operation import Operation, OperationFilter
from restead.records import operations
from restead.service.doors import Doors


class Operations:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def list(
        self, caller: Caller, project_id: ProjectId, wanted: OperationFilter, window: Window
    ) -> Page[Operation]:
        where = caller.scope(Action.TASKS_LIST, project_id, all_projects=window.all_projects)
        with self._doors.records.read() as tx:
            return operations.list_operations(tx, where, wanted, window)

    def operation(self, caller: Caller, project_id: ProjectId, id: str) -> Operation:
        """Return one.  Raises NotFound, also for another project's."""
        caller.require(Action.TASKS_GET, project_id)
        with self._doors.records.read() as tx:
            return operations.operation(tx, project_id, id)

    def delete(self, caller: Caller, project_id: ProjectId, id: str) -> None:
        """Take a finished entry out of the log.

        Raises:
            NotFound: there is no such entry.
            InvalidRequest: CSBS.2003, it has not ended.
        """
        caller.require(Action.TASKS_DELETE, project_id)
        with self._doors.records.begin() as tx:
            operations.delete(tx, operations.operation(tx, project_id, id))
