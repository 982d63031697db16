"""What became of a backup that was to be copied into another repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from restead.domain.ids import BackupId, ProjectId, RunId


class CopyState(StrEnum):
    """How a copy ended."""

    COPIED = "copied"
    THERE = "there"  # it had been copied before
    GONE = "gone"  # it was deleted while others were copied
    DAMAGED = "damaged"  # nothing of it was committed


@dataclass(frozen=True, slots=True)
class DamagedSource:
    """A disk of which something is lost."""

    disk: str
    message: str
    ranges: Sequence[tuple[int, int]] = ()  # (offset, length) in bytes of the disk; empty: all of it


@dataclass(frozen=True, slots=True)
class Copied:
    """One backup, and what was done.  Sizes in bytes."""

    state: CopyState
    project_id: ProjectId
    run_id: RunId  # that made it
    disks: int
    size: int = 0  # of its disks; 0 where nothing was looked at
    read: int = 0  # of the disks, from the first repository
    stored: int = 0  # put into the second: sealed, compressed
    backup_id: BackupId | None = None
    name: str = ""
    damage: Sequence[DamagedSource] = ()
