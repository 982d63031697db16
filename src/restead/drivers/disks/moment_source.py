"""A disk of a running machine as it was at one moment, served by its QEMU: what every driver's live backup reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.drivers.disks.changed import changed_in
from restead.drivers.disks.coarse import Stretch
from restead.drivers.nbd import NbdClient


class MomentSource(ABC):
    """A `BlockSource` whose machine may be stopped, or whose moment may be lost, meanwhile: the driver says why."""

    def __init__(self, client: NbdClient) -> None:
        self._client = client

    @abstractmethod
    def _explained(self, error: Unavailable) -> Unavailable:
        """Say why nothing can be read any more."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self._client.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with what stood there at the moment.  Raises Unavailable."""
        try:
            self._client.read_into(offset, buffer)
        except Unavailable as error:
            raise self._explained(error) from error

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what read as zeroes.  Raises as `read_into`; ValueError at once."""
        return self._explaining(self._client.extents(offset, length))

    def _changed(self, streams: Iterable[Iterable[Stretch]]) -> list[Stretch]:
        """Return where the disk may have changed, by what bitmaps tell."""
        try:
            return changed_in(self._client, streams)
        except Unavailable as error:
            raise self._explained(error) from error

    def _explaining(self, found: Iterator[Extent]) -> Iterator[Extent]:
        try:
            yield from found
        except Unavailable as error:
            raise self._explained(error) from error
