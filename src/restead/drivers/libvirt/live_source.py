"""A disk of a running domain as it was at a moment, served by its QEMU."""

from collections.abc import Collection, Sequence
from typing import Any

from restead.domain.errors import Unavailable
from restead.drivers.disks.moment_source import MomentSource
from restead.drivers.libvirt.checkpoints import generation_of, name_in
from restead.drivers.libvirt.connection import library
from restead.drivers.nbd import NbdClient


class LiveSource(MomentSource):
    """A `BlockSource` whose domain may be stopped meanwhile: that is said then."""

    def __init__(self, domain: Any, client: NbdClient) -> None:
        super().__init__(client)
        self._domain = domain

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
        client: NbdClient,
        checkpoint: str,
        known: Collection[str],
        marks: NbdClient | None,
    ) -> None:
        """*checkpoint*: made at the moment.  *marks*: serves what was written since the oldest of the *known* ones."""
        super().__init__(domain, client)
        self._checkpoint = checkpoint
        self._known = known
        self._marks = marks

    def generation(self) -> str:
        """Return a name for what the disk held at the moment."""
        return generation_of(self._checkpoint, self.size)

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        """Return what is marked since the oldest checkpoint, if the generation's was there when this was opened."""
        if self._marks is None or name_in(generation, self.size) not in self._known:
            return None
        return self._changed([self._marks.dirty()])
