"""What the repository holds, compared with what the lists name.

The two are written one after the other, and either may be lost, or put back as it was earlier, without the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from restead.domain.ids import BackupId, ManifestId, ProjectId, RunId, VolumeId


@dataclass(frozen=True, slots=True)
class NamedDisk:
    """A disk backup in the lists, and the manifest that it says it is kept as."""

    manifest: ManifestId
    project_id: ProjectId
    backup_id: BackupId
    volume_id: VolumeId
    run_id: RunId  # that made it


@dataclass(frozen=True, slots=True)
class StoredDisk:
    """A disk backup in the repository."""

    manifest: ManifestId
    project_id: ProjectId
    disk: str  # id of the disk it was made of
    run_id: RunId  # that made it
    backup_id: BackupId | None  # whose it is in the lists; None: in no list
    under_way: bool = False  # the run that made it has not ended: its row is still to come
    role: str = ""  # "system" or "data"
    size: int = 0  # bytes of the disk
    taken_at: datetime | None = None
    server: Mapping[str, object] = field(default_factory=dict)  # as it was described then
    damage: str = ""  # why nothing else is known of it


class Settlement(StrEnum):
    """What was done about a backup of which the repository and the lists said different things."""

    ADOPTED = "adopted"  # it was in no list, and is now
    FOUND = "found"  # it was in error, and can be restored now
    LOST = "lost"  # the repository does not hold it: it is in error now
    LEFT = "left"  # nothing; the reason says why


@dataclass(frozen=True, slots=True)
class Settled:
    """One backup, and what was done about it."""

    what: Settlement
    project_id: ProjectId
    disks: int
    backup_id: BackupId | None = None
    name: str = ""
    reason: str = ""
    damaged: bool = False  # it was left because stored bytes are damaged


@dataclass(frozen=True, slots=True)
class Succession:
    """What a sealed copy in the repository gave back, besides the lists."""

    number: int  # of the copy
    tokens: int  # that go on working
    servers: Sequence[str]  # names of those that are known again
    damaged: Sequence[str] = ()  # why newer copies could not be read
    policies: int = 0  # whose schedules go on
