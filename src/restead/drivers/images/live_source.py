"""What a live backup reads: a disk of a running server, as QEMU serves it behind its filter."""

from collections.abc import Iterator
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import ServerId, VolumeId
from restead.drivers.images.process import find
from restead.drivers.nbd import NbdClient


class LiveSource:
    """A disk of a running server as it was at one moment."""

    def __init__(self, server_id: ServerId, volume_id: VolumeId, client: NbdClient, pidfile: Path) -> None:
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
