"""Figures over all projects, for whoever runs the service: the API has found out that it is they who ask."""

from restead.domain import figures
from restead.records import figures as rows
from restead.service.doors import Doors


class Figures:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def now(self, servers: int) -> figures.Figures:
        """Return what the rows say now; *servers*: of how many it is told at most.  Raises Unavailable, Damaged."""
        with self._doors.records.read() as tx:
            return rows.figures(tx, servers)

    def check_records(self) -> None:
        """Return if the records answer.  Raises Unavailable, Damaged."""
        with self._doors.records.read() as tx:
            rows.answer(tx)
