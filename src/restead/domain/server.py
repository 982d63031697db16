"""A machine as its cloud describes it, and the disks that exist now."""

from dataclasses import dataclass, field
from enum import StrEnum

from restead.domain.ids import ProjectId, ServerId, VolumeId, same_id


class ServerStatus(StrEnum):
    """What a server is doing.  Only RUNNING and STOPPED ones are backed up or restored."""

    RUNNING = "running"
    STOPPED = "stopped"
    BUSY = "busy"  # resizing, rebuilding, migrating, waiting for a confirmation
    ERROR = "error"
    DELETING = "deleting"


class Kind(StrEnum):
    VIRTUAL = "virtual"
    BARE_METAL = "bare_metal"


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk that is attached to a server now."""

    id: VolumeId
    name: str
    size: int  # bytes, exact
    bootable: bool = False  # True for the system disk
    shared: bool = False  # attached to more than one server
    location: str = ""  # where it is, for people: a path, a pool and a name


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its disks, as its cloud described it at one moment."""

    id: ServerId
    project_id: ProjectId
    name: str
    status: ServerStatus
    volumes: tuple[Volume, ...] = ()  # boot disk first
    kind: Kind = Kind.VIRTUAL
    architecture: str = "x86_64"
    zone: str = ""
    region: str = ""
    virtualisation: str = "QEMU"
    memory: int = 0  # MiB
    cpus: int = 0
    private_address: str = ""
    public_address: str = ""
    host: str = ""  # the machine that its disks are read on; limits of runs at once count by it
    disks_at: str = ""  # the other machine on which alone its disks open; "" if they do here
    tags: tuple[tuple[str, str], ...] = ()  # key and value, as its cloud knows them: policies select by them
    can_back_up_running: bool = False  # its driver can read a consistent moment while it runs
    can_stop: bool = False  # the service can stop it
    can_start: bool = False  # the service can start it
    trouble: str = ""  # why its state is ERROR, for people; "" if that is not known
    description: dict[str, object] = field(default_factory=dict, hash=False)  # the driver's own, to make it again

    @property
    def unfit(self) -> str:
        """Why nothing can be done with it in its state; the text continues "server … "."""
        return f"is {self.status.value}, not running or stopped{f': {self.trouble}' if self.trouble else ''}"

    @property
    def elsewhere(self) -> str:
        """Why its disks do not open here; the text continues "server … "."""
        return f"has its disks on {self.disks_at}: they are backed up and restored by a restead on that machine alone"

    def volume(self, id: VolumeId) -> Volume | None:
        """Return the attached disk of that id, or None."""
        return next((volume for volume in self.volumes if same_id(volume.id, id)), None)
