"""The audit trail, as calls are noted in it."""

from restead.domain.audit import Said
from restead.records import audit
from restead.service.doors import Doors


class Trail:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def note(self, said: Said) -> None:
        """Add an entry; durable when this returns.  Raises RecordsUnavailable."""
        with self._doors.records.begin() as tx:
            audit.append(tx, said)
