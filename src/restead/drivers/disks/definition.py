"""One disk as whoever describes its server names it."""

from dataclasses import dataclass
from pathlib import Path

from restead.domain.ids import VolumeId

FORMATS = ("raw", "qcow2")

NO_VOLUME_ID = VolumeId("")


@dataclass(frozen=True, slots=True)
class DiskDefinition:
    """One disk of a server: a file or a block device."""

    path: Path  # absolute; a link such as /dev/group/volume stays a link and is followed at each opening
    id: VolumeId = NO_VOLUME_ID  # empty: a new UUID is given when it is added
    name: str = ""  # empty: the file's name
    format: str = "raw"  # of FORMATS; empty: not stated; never probed, since a guest can write any header into its disk
    boot: bool = False
    shared: bool = False  # attached to other servers as well
