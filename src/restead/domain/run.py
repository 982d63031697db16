"""A run: one story that is told to its end, over crashes and restarts, and what it tells on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from restead.domain.ids import ProjectId, RunId


class RunKind(StrEnum):
    BACKUP = "backup"
    RESTORE = "restore"
    DELETE = "delete"


class RunState(StrEnum):
    WAITING = "waiting"  # nobody works on it
    RUNNING = "running"  # its lease says who does
    DONE = "done"  # how it ended stands with its subject


class Told(StrEnum):
    """The kinds of events a run tells (CSBS, section 9.4)."""

    ACCEPTED = "accepted"
    RESUMED = "resumed"
    READING = "reading"  # backup: the disks are open at one moment
    STOPPING = "stopping"
    COMPARING = "comparing"
    WRITING = "writing"
    PROGRESS = "progress"
    PROVING = "proving"
    PUTTING_BACK = "putting_back"
    STARTING = "starting"
    REMOVING = "removing"
    END = "end"


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event of a run's story; *id* grows in the order told."""

    id: int
    run_id: RunId
    at: datetime
    kind: Told
    subject: str = ""
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that somebody works on now, and the number that fences it: each claim has a higher one."""

    run_id: RunId
    kind: RunKind
    subject: str  # id of the backup or restore it is about
    project_id: ProjectId
    number: int  # 1 for the first life of the run
    deaths: int = 0  # how many lives ended in a crash
