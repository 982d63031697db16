"""Verifications: what the last look at the repository has found."""

from restead.domain.caller import Action, Caller
from restead.domain.ids import ProjectId
from restead.domain.verification import Verification
from restead.records import verifications
from restead.service.doors import Doors


class Verifications:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def standing(self, caller: Caller, project_id: ProjectId) -> Verification | None:
        """Return the one whose result stands, None if none has come to its end."""
        caller.require(Action.SERVERS_LIST, project_id)
        with self._doors.records.read() as tx:
            return verifications.standing(tx)
