"""What a live backup reads: a disk of a running server, as QEMU serves it behind its filter."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.domain.ids import ServerId, VolumeId
from restead.drivers.disks.coarse import Stretch
from restead.drivers.disks.moment_source import MomentSource
from restead.drivers.images.bitmaps import Chain
from restead.drivers.images.process import find
from restead.drivers.nbd import NbdClient

Connect = Callable[[str], AbstractContextManager[NbdClient]]
"""Connects once more to the disk, to ask about the bitmap of that name."""


class LiveSource(MomentSource):
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
        super().__init__(client)
        self._chain = chain
        self._connect = connect
        self._server_id = server_id
        self._id = volume_id
        self._pidfile = pidfile

    def generation(self) -> str:
        """Return the name of what the disk held at the moment: that of the bitmap that began in it, and its size."""
        return self._chain.generation

    def changed_since(self, generation: str) -> Sequence[Stretch] | None:
        """Return what the guest has written to since then, None if no bitmap has recorded all of that."""
        names = self._chain.since(generation)
        if names is None:
            return None
        return self._changed(map(self._dirty, names))

    def _dirty(self, name: str) -> Iterator[Stretch]:
        with self._connect(name) as client:
            yield from client.dirty()

    def _explained(self, error: Unavailable) -> Unavailable:
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
