"""A disk backup that was written into an image file."""

from dataclasses import dataclass

from restead.domain.ids import BackupId, ManifestId


@dataclass(frozen=True, slots=True)
class Exported:
    """One disk, and the file that it is in."""

    backup_id: BackupId | None  # None: it is in no list, and what stands beside its bytes does not say
    manifest: ManifestId
    disk: str  # its id
    name: str
    path: str  # absolute
    size: int  # bytes of the disk
    written: int  # bytes of it that are not zero, in whole chunks; all else is a hole
