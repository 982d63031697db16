"""What opens a repository, as people see it: no secret is in here."""

from dataclasses import dataclass
from datetime import datetime

from restead.domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class Key:
    """One of the ways to open the repository."""

    id: str  # 32 hexadecimal digits
    kind: str  # "passphrase", "key file" or "recovery key"
    label: str
    added_at: datetime | None  # None: early releases did not say
    confirmed_at: datetime | None  # when somebody said that this recovery key is kept elsewhere
    used_here: bool  # the data folder opens the repository with it


@dataclass(frozen=True, slots=True)
class Erasure:
    """What erasing a project destroys."""

    project_id: ProjectId
    servers: tuple[str, ...]  # names of those that the backups are of
    disks: int  # disk backups
    size: int  # bytes of these disks, as far as their descriptions can be read
    stored: int  # bytes in the repository


@dataclass(frozen=True, slots=True)
class Erased:
    """What erasing a project has done."""

    backups: int  # that are in error now
    versions: int  # old versions of the keyring that were deleted
