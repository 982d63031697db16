"""What has been looked at of what is stored, and what is wrong with it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from restead.domain.ids import BackupId, ManifestId, ProjectId


class Depth(StrEnum):
    """How much of the repository is looked at; each takes in what stands before it, but the first needs no bytes."""

    STRUCTURE = "structure"  # log, keyring, index, every page; every chunk has its place in a pack that is there
    OBJECTS = "objects"  # and every bit of every object is hashed
    FULL = "full"  # and everything in packs is opened and compared with its name


class VerificationState(StrEnum):
    RUNNING = "running"  # or interrupted: the next one of that depth goes on where it was
    SOUND = "sound"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a stored object."""

    object: str  # its name in the store
    message: str


@dataclass(frozen=True, slots=True)
class DamagedDisk:
    """A disk backup of which some is lost."""

    manifest: ManifestId
    project_id: ProjectId
    disk: str  # id of the disk it was made of
    ranges: tuple[tuple[int, int], ...]  # (offset, length) in bytes of the disk
    lost: int  # bytes in all; of very many ranges only the first stand above
    message: str  # what was found first
    backup_id: BackupId | None = None  # whose it is in the lists; None: in no list
    backup_name: str = ""
    server_id: str = ""
    server_name: str = ""
    disk_backup_id: str = ""
    disk_name: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """One look at the repository, ended or under way."""

    id: str
    depth: Depth
    state: VerificationState
    started_at: datetime
    finished_at: datetime | None = None
    read: int = 0  # bytes of packs
    objects: int = 0  # packs
    findings: tuple[Finding, ...] = ()
    disks: tuple[DamagedDisk, ...] = field(default=())
