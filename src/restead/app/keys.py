"""What opens a data folder's repository, as the command line works with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from restead.app.opening import Opened
from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.key import Erased, Erasure, Key
from restead.domain.token import check_project
from restead.repository import KeyFile, Keyring, Passphrase, RecoveryKey, Repository, Secret, Wrapping
from restead.workflows.erase import erase, finish


class FolderKeys:
    """Implements the command line's `Keys`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    # ------------------------------------------------------------------ the recovery key

    def export_recovery(self) -> str:
        key = RecoveryKey.generate()
        with self._opened.folder.setting_up():
            self._opened.keyring().add_wrapping(key, label=f"exported {_today()}", at=_now())
        return key.printed()

    def confirm_recovery(self, text: str) -> None:
        self._opened.keyring().confirm_recovery(RecoveryKey.parse(text), _now())

    def recover(self, text: str) -> Path:
        keyring = self._opened.keyring(RecoveryKey.parse(text))
        path = self._opened.key_file
        keyring.add_wrapping(KeyFile.create(path), label=f"made by the recovery key {_today()}", at=_now())
        return path

    # ------------------------------------------------------------------ all keys

    def keys(self) -> list[Key]:
        keyring = self._keyring()
        return [_key(one, keyring) for one in keyring.wrappings()]

    def unfinished(self) -> int:
        return len(self._keyring().old())

    def key(self, id: str) -> Key:
        found = [key for key in self.keys() if id and key.id.startswith(id.lower())]
        if not found:
            raise NotFound(f"there is no key {id}")
        if len(found) > 1:
            raise InvalidRequest(f"{len(found)} keys have ids that begin with {id}: say more of it")
        return found[0]

    def add_passphrase(self, text: str, label: str) -> Key:
        return self._add(self._keyring(), Passphrase(text), label)

    def add_key_file(self, path: Path, label: str) -> Key:
        keyring = self._keyring()
        secret = KeyFile.create(path)
        try:
            return self._add(keyring, secret, label)
        except InvalidRequest:
            path.unlink()  # it opens nothing
            raise

    def remove(self, key: Key) -> int:
        repository = self._repository()
        # With a single key "the last one" is the better reason.
        if repository.keyring.opened_by == key.id and len(repository.keyring.wrappings()) > 1:
            raise InvalidRequest(
                f"this data folder opens the repository with key {key.id}: put another one in its place with "
                "restead key change, or let the folder use another one first"
            )
        repository.keyring.remove_wrapping(key.id)
        return finish(self._opened.records, repository)

    # ------------------------------------------------------------------ changing the folder's own

    def uses_passphrase(self) -> bool:
        return self._opened.settings.secret_phrase() is not None

    def change_passphrase(self, text: str) -> str:
        with self._opened.folder.setting_up():
            repository = self._repository()
            old = repository.keyring.opened_by
            self._add(repository.keyring, Passphrase(text), f"changed {_today()}")
            file = self._opened.settings.passphrase_file
            if file is not None:
                _replace(file, f"{text}\n".encode())
            self._retire(repository, old)
        if file is not None:
            return f"the new passphrase opens the repository and stands in {file}; the old one opens it no more"
        return "the new passphrase opens the repository, the old one no more: set `passphrase` to it now"

    def change_key_file(self) -> str:
        with self._opened.folder.setting_up():
            repository = self._repository()
            old, path = repository.keyring.opened_by, self._opened.key_file
            fresh = path.with_name(f"{path.name}.new")
            fresh.unlink(missing_ok=True)  # of a change that was cut short: the folder still has the key before it
            # It opens the repository before it takes the place of the old one, and that goes only after it.
            self._add(repository.keyring, KeyFile.create(fresh), f"changed {_today()}")
            fresh.replace(path)
            _sync(path.parent)
            self._retire(repository, old)
        return f"key file {path} is a new one and opens the repository; copies of the old one open it no more"

    # ------------------------------------------------------------------ rotating, erasing

    def rotate(self) -> None:
        self._keyring().rotate()

    def erasure(self, project: str) -> Erasure:
        repository, id = self._repository(), check_project(project)
        lost = repository.erasing.lost(id)
        size, servers = 0, set()
        for _, manifest in repository.described(lost.manifests):
            if not isinstance(manifest, Damaged):
                size += manifest.size
                servers.add(str(manifest.description.server.get("name", "?")))
        return Erasure(id, tuple(sorted(servers)), len(lost.manifests), size, lost.stored)

    def erase(self, project: str) -> Erased:
        with self._alone("restead key erase"):
            return erase(self._opened.records, self._repository(), check_project(project))

    def finish(self) -> int:
        return finish(self._opened.records, self._repository())

    # ------------------------------------------------------------------ helpers

    def _keyring(self) -> Keyring:
        return self._repository().keyring

    def _repository(self) -> Repository:
        return self._opened.repository(make=False)

    def _add(self, keyring: Keyring, secret: Secret, label: str) -> Key:
        return _key(keyring.add_wrapping(secret, label=label or f"added {_today()}", at=_now()), keyring)

    def _retire(self, repository: Repository, id: str) -> None:
        repository.keyring.remove_wrapping(id)
        finish(self._opened.records, repository)

    @contextmanager
    def _alone(self, who: str) -> Iterator[None]:
        """Hold the data folder as a service does: one that runs has the project's keys in memory."""
        folder = self._opened.folder
        with folder.setting_up() as service:
            if service is not None:
                raise Unavailable(f"a service works on the data folder, end it first: {service}")
            folder.occupy(f"no address: it is {who}")
        yield


def _key(one: Wrapping, keyring: Keyring) -> Key:
    used = one.id == keyring.opened_by
    return Key(one.id, one.kind.value, one.label, one.added_at, one.confirmed_at, used)


def _replace(path: Path, data: bytes) -> None:
    """Let *path* hold *data*, durably and as a whole, for its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be written: {error.strerror}; both passphrases open the repository now"
        ) from error


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
