"""What whoever runs the service watches: figures over all projects, and what a run has come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from restead.domain.ids import ProjectId
from restead.domain.run import RunKind, RunState


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    kind: RunKind
    outcome: str  # state of its entry in the operation log; "unknown" if it has none
    read: int = 0  # bytes of disks, by a backup that was made
    stored: int = 0  # bytes, by such a backup
    written: int = 0  # bytes of disks, by a restore


@dataclass(frozen=True, slots=True)
class ServerAge:
    """How old a server's last good backup is."""

    project_id: ProjectId
    server_key: str  # the server's canonical id
    age: timedelta | None  # None: it has backups, and none of them is good


@dataclass(frozen=True, slots=True)
class Looked:
    """What the last verification found that came to its end."""

    age: timedelta  # since it began: it says nothing of what was damaged later
    findings: int
    disks: int  # disk backups of which some is lost


@dataclass(frozen=True, slots=True)
class Telling:
    """How far operators have been told what happened."""

    waiting: int = 0  # deliveries that wait, and notices of which it does not stand who is told
    dead: int = 0
    longest_wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rows say at one moment."""

    runs: Mapping[tuple[RunKind, RunState], int]  # that have not ended; none is left out
    longest_wait: timedelta  # of a run that waits
    looked: Looked | None
    servers: Sequence[ServerAge]
    every_server: bool  # whether there are no more
    telling: Telling = Telling()

    @property
    def waiting(self) -> int:
        return sum(number for (_, state), number in self.runs.items() if state is RunState.WAITING)
