"""Opening disks by their format, one or several at once: what every driver does with those of a machine at rest."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from restead.domain.ids import VolumeId
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.gateway import Gateway
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.opening import open_source, open_target
from restead.drivers.disks.qcow2_opening import open_qcow2_source, open_qcow2_target
from restead.drivers.disks.raw import DiskTarget
from restead.drivers.disks.served import ServedTarget
from restead.ports import BlockSource, Consistency


@dataclass(frozen=True, slots=True)
class OfflineMoment:
    """The disks of a machine that does not run, all of them locked before *taken_at*."""

    taken_at: datetime
    sources: Mapping[VolumeId, BlockSource]
    consistency: Consistency = Consistency.OFFLINE


class Opener:
    """Opens disks.  *direct_read*, *direct_write*: past the page cache."""

    def __init__(self, guard: Guard, gateway: Gateway, *, direct_read: bool, direct_write: bool) -> None:
        self._guard = guard
        self._gateway = gateway
        self._direct_read = direct_read
        self._direct_write = direct_write

    @contextmanager
    def moment(self, disks: Mapping[VolumeId, DiskDefinition]) -> Iterator[OfflineMoment]:
        """Open disks for reading, all of them locked before anything is read.  Raises Unavailable."""
        with ExitStack() as opened:
            sources = {id: opened.enter_context(self._source(disk)) for id, disk in disks.items()}
            yield OfflineMoment(datetime.now(UTC), sources)

    def target(self, disk: DiskDefinition) -> AbstractContextManager[DiskTarget | ServedTarget]:
        """Open a disk for writing, for us alone.  Raises Unavailable."""
        if disk.format == "qcow2":
            return open_qcow2_target(disk, self._guard, self._gateway, direct=self._direct_write)
        return open_target(disk, self._guard, direct=self._direct_write)

    def _source(self, disk: DiskDefinition) -> AbstractContextManager[BlockSource]:
        if disk.format == "qcow2":
            return open_qcow2_source(disk, self._guard, self._gateway, direct=self._direct_read)
        return open_source(disk, self._guard, direct=self._direct_read)
