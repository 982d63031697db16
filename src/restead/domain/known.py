"""What is known of a disk without reading it."""

from dataclasses import dataclass

from restead.domain.ids import ManifestId


@dataclass(frozen=True, slots=True)
class KnownDisk:
    """A disk held exactly what a manifest holds when it was of this generation."""

    manifest: ManifestId
    root: str  # hexadecimal name of the manifest's root: an id alone may be another history's
    generation: str  # as the disk's driver names it
