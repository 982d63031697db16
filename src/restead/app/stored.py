"""A data folder's repository, as the command line works with it, service or not."""

from collections.abc import Callable, Iterator

from restead.app.copying import copy_backups, naming
from restead.app.exporting import export_backup
from restead.app.opening import Opened
from restead.app.recreating import recreate
from restead.cli.doors import Copying, Exporting
from restead.domain.collected import Collected
from restead.domain.copied import Copied
from restead.domain.errors import Unavailable
from restead.domain.exported import Exported
from restead.domain.ids import ServerId
from restead.domain.stock import Settled, StoredDisk, Succession
from restead.domain.verification import Depth, Verification
from restead.drivers.blobs import OneWriter
from restead.records import verifications
from restead.repository import Repository
from restead.workflows.adopt import Adoption
from restead.workflows.service_copy import Successor
from restead.workflows.stock import stored_disks
from restead.workflows.verify import Verifier


class FolderStored:
    """Implements the command line's `Stored`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def disks(self) -> Iterator[StoredDisk]:
        yield from stored_disks(self._opened.records, self._repository())

    def take_over(self, *, older: bool) -> Succession | None:
        with self._opened.folder.setting_up() as service:
            if service is not None:
                raise Unavailable(f"a service works on the data folder, end it first: {service}")
            self._opened.folder.occupy("no address: it is restead repository adopt")
            if older:
                self._opened.forget_history()
            repository = self._opened.repository(make=False)
        return taken_over(self._opened, repository)

    def settle(self) -> Iterator[Settled]:
        yield from Adoption(self._opened.records, self._repository()).settle()

    def digest(self) -> tuple[int, bytes]:
        repository = self._repository()
        repository.log.refresh()
        return repository.log.digest()

    def collect(self, *, dry: bool, garbage: float, small: int) -> Collected:
        return self._repository().collect(dry=dry, garbage=garbage, small=small)

    def copy(self, wanted: Copying, told: Callable[[int, int], None]) -> Iterator[Copied]:
        with naming(f"{self._opened.address}, which is copied"):
            source = self._repository()
        yield from copy_backups(self._opened, source, wanted, told)

    def export(self, wanted: Exporting, told: Callable[[int, int, int | None], None]) -> list[Exported]:
        return export_backup(self._opened, self._repository(), wanted, told)

    def recreate(self, backup: str, project: str | None, say: Callable[[str], None]) -> ServerId:
        return recreate(self._opened, self._repository(), backup, project, say)

    def writer(self) -> str | None:
        store = self._opened.store
        found = store.writer() if isinstance(store, OneWriter) else None
        return None if found is None else str(found)

    def claim(self) -> None:
        store = self._opened.store
        if isinstance(store, OneWriter):
            store.take_over()

    def verify(self, depth: Depth, rate: int, restart: bool, told: Callable[[int, int], None]) -> Verification:
        verifier = Verifier(self._opened.records, self._repository())
        return verifier.verify(depth, rate=rate or None, restart=restart, told=told)

    def verified(self) -> Verification | None:
        with self._opened.records.read() as tx:
            return verifications.standing(tx)

    def _repository(self) -> Repository:
        with self._opened.folder.setting_up():
            return self._opened.repository(make=False)


def taken_over(opened: Opened, repository: Repository) -> Succession | None:
    """Take over what the service that worked on the repository before has left of itself there."""
    return Successor(opened.records, repository, opened.images.put_back).take_over()
