"""Opening a data folder: what stands where in it, and how its parts come to be.

    <data>/
      key              opens the repository, unless a passphrase does
      repository/      sealed objects: copy this, and keep the recovery key: docs/operate.md tells how to go on;
                       not here if the setting `store` says where else
      records.sqlite   names, states, stories, tokens (hashed); not here if the setting `database` says where else
      servers/         one JSON file for each server, and the logs of its machine
      cache/           may be lost at any time
      scratch/         packs under way, if the repository is in an object store; what guests overwrite in a backup
      writer           who we are to an object store that only one may write to; writer.lock is held for moments
      runtime          link to the short folder of sockets
      service.lock     held by a running service; says which
      setup.lock       held for moments
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from restead.app.folder import DataFolder
from restead.app.stores import folder_of, open_store, this_folder, window_for
from restead.app.union import Cloud, Union
from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import ProjectId
from restead.drivers.images import ImagesDriver, ImagesOptions
from restead.drivers.images.accel import Accel
from restead.drivers.images.stored import to_json
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.ports import BlobStore
from restead.records import Records, owning, remembered
from restead.repository import KeyFile, Keyring, Passphrase, Repository, Secret
from restead.settings import Settings


@dataclass
class Opened:
    """An opened data folder."""

    settings: Settings
    folder: DataFolder
    records: Records
    shapes: tuple[str | None, str | None] | None  # of the records, before and now; None: a service works on them
    images: ImagesDriver
    libvirt: LibvirtDriver | None = None  # if its connection is set

    @cached_property
    def cloud(self) -> Cloud:
        """All servers, whatever driver they are of."""
        return Union([self.images, self.libvirt]) if self.libvirt else self.images

    def projects(self) -> list[ProjectId]:
        """Return all projects that have servers, in order."""
        described = {definition.project for definition in self.images.definitions()}
        return sorted(described.union(self.libvirt.projects() if self.libvirt else ()))

    @property
    def key_file(self) -> Path:
        return self.folder.path / "key"

    @property
    def address(self) -> str:
        """Where the repository is."""
        return self.settings.store or str(self.folder.path / "repository")

    @cached_property
    def store(self) -> BlobStore:
        return open_store(self.address, self.settings)

    def server_definitions(self) -> list[dict[str, object]]:
        """Return what an operator has described, as JSON: no record has it, and no repository but for the copy."""
        return [to_json(definition) for definition in self.images.definitions()]

    def keyring(self, secret: Secret | None = None) -> Keyring:
        """Open the repository's keyring, with the secret that the settings name if no other is given.

        Call inside `setting_up` where the repository may still have to be made.
        """
        if secret is None:
            secret = self.secret()
            if not self._has_repository:
                size, now = self.settings.chunk_size, datetime.now(UTC).replace(microsecond=0)
                return Repository.create(self.store, secret, chunk_size=size, label="first", at=now)
        return Keyring.open(self.store, secret)

    def repository(self, *, make: bool = True) -> Repository:
        """Open the repository, made if there is none yet.  Call inside `setting_up`.

        Raises:
            NotFound: there is none, and it shall not be made.
            Damaged: it shows an older history than these records, or this cache, have seen.
        """
        if not self._has_repository:
            if not make:
                where = self.settings.store or f"data folder {self.folder.path}"
                raise NotFound(f"there is no repository in {where}")
            self.keyring()
        window = window_for(self.address, self.settings)
        repository = Repository.open(
            self.store, self.secret(), cache=self.folder.path / "cache", scratch=self._scratch(), window=window
        )
        with self.records.read() as tx:
            known = remembered.newest_digest(tx, repository.keyring.repository_id)
        repository.log.require(*known)  # the cache, which knows it too, may be lost at any time
        return repository

    def remember(self, repository: Repository, number: int, digest: bytes) -> None:
        """Note in the records that this entry of the log was seen: an older history is refused from now on."""
        with self.records.begin() as tx:
            remembered.keep_digest(tx, repository.keyring.repository_id, number, digest)

    def forget_history(self) -> None:
        """Believe whatever history the repository shows next, also an older one."""
        id = self.keyring().repository_id
        with self.records.begin() as tx:
            remembered.forget_digest(tx, id)
        (self.folder.path / "cache" / f"{id.hex()}.digest").unlink(missing_ok=True)

    def _scratch(self) -> Path:
        """Where packs are built: in a folder that is the store they need not be copied, else on our own disk."""
        scratch = folder_of(self.address) or self.folder.path / "scratch"
        scratch.mkdir(0o700, exist_ok=True)
        return scratch

    @property
    def _has_repository(self) -> bool:
        return any(self.store.list("keyring/"))

    def secret(self) -> Secret:
        """Return what opens the repository: the passphrase of the settings, or the key file, made if it is missing."""
        phrase = self.settings.secret_phrase()
        if phrase is not None:
            return Passphrase(phrase)
        if self.key_file.exists():
            return KeyFile.read(self.key_file)
        if self._has_repository:
            raise InvalidRequest(
                f"key file {self.key_file} is missing and no passphrase is set: set passphrase_file, "
                "or type the recovery key into: restead key recover"
            )
        return KeyFile.create(self.key_file)


def owner_of(settings: Settings) -> owning.Owner:
    """Return the data folder as records on a server know it."""
    me = this_folder(settings.data)
    return owning.Owner(me.id, str(me))


@contextmanager
def opened(settings: Settings, *, serving: bool = False) -> Iterator[Opened]:
    """Open the data folder, made if it is missing, with its records brought up to date.

    While another release's service runs on it the records are left as they are.  *serving*: we are a service,
    and the only one from here on.

    Raises:
        InvalidRequest: it is not private; a newer release wrote it.
        Unavailable: it cannot be made or read; another service holds it, or has its records.
    """
    folder = DataFolder(settings.data)
    records = Records.open(settings.records_url)
    try:
        with folder.setting_up() as holder:
            if serving:
                folder.occupy(settings.listen)
            shapes = records.migrate() if holder is None else None
            if serving:
                with records.begin() as tx:
                    owning.require(tx, owner_of(settings), on_server=records.on_server)
            runtime = folder.runtime(settings.runtime)
        libvirt = _libvirt(settings, runtime)
        with ExitStack() as ending:
            if libvirt is not None:
                ending.callback(libvirt.close)
            yield Opened(settings, folder, records, shapes, _images(settings, runtime), libvirt)
    finally:
        records.close()
        folder.close()
        folder.give_back_runtime()


def _images(settings: Settings, runtime: Path) -> ImagesDriver:
    options = ImagesOptions(
        settings.direct_read, settings.direct_write, Accel(settings.accel), settings.qemu, settings.qemu_nbd,
        timedelta(seconds=settings.freeze_limit),
    )  # fmt: skip
    return ImagesDriver(settings.data, runtime, options)


def _libvirt(settings: Settings, runtime: Path) -> LibvirtDriver | None:
    """Return the driver of libvirt's domains, None if no connection is set.  Raises InvalidRequest."""
    if not settings.libvirt_uri:
        return None
    options = LibvirtOptions(
        settings.libvirt_uri, settings.libvirt_projects, settings.libvirt_scratch, settings.direct_read,
        settings.direct_write, settings.qemu_nbd, timedelta(seconds=settings.freeze_limit),
    )  # fmt: skip
    return LibvirtDriver(settings.data, runtime, options)
