"""What a live backup reads: a disk of a running server, as QEMU serves it behind its filter."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import ServerId, VolumeId
from restead.drivers.disks.coarse import Stretch, coarsely
from restead.drivers.images.bitmaps import Chain
from restead.drivers.images.process import find
from restead.drivers.nbd import NbdClient

Connect = Callable[[str], AbstractContextManager[NbdClient]]
"""Connects once more to the disk, to ask about the bitmap of that name."""


class LiveSource:
    """A disk of a running server as it was at one moment."""

    def __init__(
        self,
        server_id: ServerId,
        volume_id: VolumeId,
        client: NbdClient,
        pidfile: Path,
        chain: Chain,
        connect: Connect,
    ) -> None:
        self._chain = chain
        self._connect = connect
        self._server_id = server_id
        self._id = volume_id
        self._client = client
        self._pidfile = pidfile

    @property
    def size(self) -> int:
        """Bytes."""
        return self._client.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with what stood there at the moment.  Raises Unavailable: the moment is lost."""
        try:
            self._client.read_into(offset, buffer)
        except Unavailable as error:
            raise self._lost(error) from error

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what read as zeroes.  Raises as `read_into`; ValueError at once."""
        return self._translated(self._client.extents(offset, length))

    def generation(self) -> str:
        """Return the name of what the disk held at the moment: that of the bitmap that began in it, and its size."""
        return self._chain.generation

    def changed_since(self, generation: str) -> Sequence[Stretch] | None:
        """Return what the guest has written to since then, None if no bitmap has recorded all of that.

        And all that is a hole now, which costs nothing to read: an image that was made smaller and larger again
        while its server was stopped has lost what stood there, and no bitmap notes that.
        """
        names = self._chain.since(generation)
        if names is None:
            return None
        holes = ((one.offset, one.length) for one in self.extents(0, self.size) if not one.data)
        try:
            return coarsely([holes, *map(self._dirty, names)], self.size)
        except Unavailable as error:
            raise self._lost(error) from error

    def _dirty(self, name: str) -> Iterator[Stretch]:
        with self._connect(name) as client:
            yield from client.dirty()

    def _translated(self, extents: Iterator[Extent]) -> Iterator[Extent]:
        try:
            yield from extents
        except Unavailable as error:
            raise self._lost(error) from error

    def _lost(self, error: Unavailable) -> Unavailable:
        """Say why nothing can be read any more."""
        with find(self._pidfile) as process:
            if process is None:
                return Unavailable(f"disk {self._id}: server {self._server_id} ended while it was backed up",
                                   detail=error.message)  # fmt: skip
        if self._client.broken:
            return error
        why = "what the guest overwrote found no place in the scratch folder, or could not be written there in time"
        return Unavailable(f"disk {self._id}: the moment of this backup is lost, server {self._server_id} goes on: "
                           f"{why}", detail=error.message)  # fmt: skip
