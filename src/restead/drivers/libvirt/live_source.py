"""A disk of a running domain as it was at a moment, served by its QEMU."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import VolumeId
from restead.drivers.disks.coarse import coarsely
from restead.drivers.libvirt.checkpoints import generation_of, name_in
from restead.drivers.libvirt.connection import library
from restead.drivers.nbd import NbdClient


class LiveSource:
    """A `BlockSource` whose domain may be stopped meanwhile: that is said then."""

    def __init__(self, domain: Any, volume_id: VolumeId, client: NbdClient) -> None:
        self._domain = domain
        self._id = volume_id
        self._client = client

    @property
    def size(self) -> int:
        """Bytes."""
        return self._client.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *offset* on.  Raises Unavailable."""
        try:
            self._client.read_into(offset, buffer)
        except Unavailable as error:
            raise self._explained(error) from error

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what reads as zeroes.  Raises Unavailable."""
        found = self._client.extents(offset, length)
        return self._explaining(found)

    def _explaining(self, found: Iterator[Extent]) -> Iterator[Extent]:
        try:
            yield from found
        except Unavailable as error:
            raise self._explained(error) from error

    def _explained(self, error: Unavailable) -> Unavailable:
        libvirt = library()
        try:
            runs = bool(self._domain.isActive())
        except libvirt.libvirtError:
            runs = True
        id = self._domain.UUIDString()
        why = "" if runs else "it was stopped while it was backed up: "
        return Unavailable(f"server {id}: {why}{error.message}", detail=error.detail)


class MarkedSource(LiveSource):
    """One that libvirt marks the changes of (`TracksChanges`)."""

    def __init__(
        self,
        domain: Any,
        volume_id: VolumeId,
        client: NbdClient,
        checkpoint: str,
        known: Collection[str],
        marks: NbdClient | None,
    ) -> None:
        """*checkpoint*: made at the moment.  *marks*: serves what was written since the oldest of the *known* ones."""
        super().__init__(domain, volume_id, client)
        self._checkpoint = checkpoint
        self._known = known
        self._marks = marks

    def generation(self) -> str:
        """Return a name for what the disk held at the moment."""
        return generation_of(self._checkpoint, self.size)

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        """Return what is marked since the oldest checkpoint, if the generation's was there when this was opened.

        And all that is a hole now, which costs nothing to read: an image that was made smaller and larger again while
        its domain was stopped has lost what stood there, and no bitmap notes that.
        """
        if self._marks is None or name_in(generation, self.size) not in self._known:
            return None
        try:
            holes = ((one.offset, one.length) for one in self.extents(0, self.size) if not one.data)
            return coarsely([holes, self._marks.dirty()], self.size)
        except Unavailable as error:
            raise self._explained(error) from error
