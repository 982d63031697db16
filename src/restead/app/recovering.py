"""A service rebuilt on a new data folder, from a repository and a key alone.

A file `recovering` stands in the folder until all is done, so that one that was interrupted is done again, and a folder
that a service has lived in is never taken for a new one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from restead.app.folder import DataFolder
from restead.app.opening import Opened, opened
from restead.app.stored import taken_over
from restead.app.stores import folder_of, open_store, open_to_look
from restead.cli.doors import Recovery, RecoverySecret
from restead.domain.errors import Damaged, InvalidRequest, NotFound
from restead.domain.stock import Settled, Succession
from restead.repository import KeyFile, Keyring, Passphrase, RecoveryKey, Repository, Secret
from restead.settings import Settings
from restead.workflows.adopt import Adoption

_MARK = "recovering"


class FolderRecovery:
    """Implements the command line's `Recovery`."""

    def __init__(self, opened: Opened, repository: Repository) -> None:
        self._opened = opened
        self._repository = repository

    def take_over(self) -> Succession | None:
        return taken_over(self._opened, self._repository)

    def settle(self) -> Iterator[Settled]:
        yield from Adoption(self._opened.records, self._repository).settle()

    def done(self) -> None:
        number, digest = self._repository.log.digest()
        self._opened.remember(self._repository, number, digest)
        (self._opened.folder.path / _MARK).unlink()


@contextmanager
def recovery(
    settings: Settings, address: str, secret: RecoverySecret, at_least: tuple[int, bytes] | None
) -> Iterator[Recovery]:
    """Yield the recovery, on a folder that is ready for a service but for what it is told to do.

    Raises:
        InvalidRequest: the folder is in use; the secret does not open the repository, or that shows an older history
            than *at_least*.
        NotFound: there is no repository at *address*.
        Damaged: it is.
    """
    folder = folder_of(address)
    store = None if folder is not None and not folder.is_dir() else open_to_look(address, settings)
    if store is None or not any(store.list("keyring/")):  # a mistyped folder is not made
        raise NotFound(f"there is no repository in {address}")
    with TemporaryDirectory(prefix="restead-") as scratch:  # nothing is made for who cannot open it, or if it is older
        place = Path(scratch)
        looked_at = Repository.open(store, _opens(secret, settings), cache=place / "cache", scratch=place)
        if at_least is not None:
            _require(looked_at, *at_least)
    # What was named counts, not what the settings say: they may be those of the service that is lost.
    settings = settings.model_copy(update={"store": "" if folder is not None else address})
    _begin(settings)
    _link(settings, address)
    _put_key(settings, address, secret)
    with opened(settings) as house:
        with house.folder.setting_up():
            house.folder.occupy("no address: it is restead recover")
            found = house.repository(make=False)
        yield FolderRecovery(house, found)


def _require(repository: Repository, number: int, digest: bytes) -> None:
    repository.log.refresh()
    try:
        repository.log.require(number, digest)
    except Damaged as error:
        # Nothing of it is damaged: it is not the one that was asked for.
        raise InvalidRequest(
            f"the repository does not show entry {number} of its log as it was noted: it is older, or another "
            f"({error.message})"
        ) from error


def _opens(secret: RecoverySecret, settings: Settings) -> Secret:
    if secret.recovery_key:
        return RecoveryKey.parse(secret.recovery_key)
    if secret.key_file is not None:
        return KeyFile.read(secret.key_file)
    phrase = settings.secret_phrase()
    if phrase is None:
        raise InvalidRequest("nothing opens it: say --key-file, --passphrase-file, or type the recovery key")
    return Passphrase(phrase)


def _begin(settings: Settings) -> None:
    folder = DataFolder(settings.data)
    mark = folder.path / _MARK
    lived_in = [name for name in ("records.sqlite", "key", "servers") if (folder.path / name).exists()]
    if lived_in and not mark.exists():
        raise InvalidRequest(
            f"data folder {folder.path} has {' and '.join(lived_in)} in it: recover into a new folder; lists that were "
            "lost alone are made anew by restead repository adopt"
        )
    mark.touch(0o600)
    fd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(settings: Settings, address: str) -> None:
    """Let the data folder's own repository be the one at *address*, if that is a folder elsewhere."""
    there, ours = folder_of(address), settings.data / "repository"
    if there is None or there.resolve() == ours.resolve():
        return
    if ours.is_symlink() or ours.exists():
        raise InvalidRequest(f"{ours} is there already, and is not {there}")
    ours.symlink_to(there)


def _put_key(settings: Settings, address: str, secret: RecoverySecret) -> None:
    path = settings.data / "key"
    if path.exists():
        path.unlink()  # of a recovery that was interrupted: perhaps not a whole one
    if secret.key_file is not None:
        KeyFile.create(path, KeyFile.read(secret.key_file).secret)
    elif secret.recovery_key:
        keyring = Keyring.open(open_store(address, settings), _opens(secret, settings))
        fresh = KeyFile.create(path)
        try:
            keyring.add_wrapping(fresh, label="made by restead recover")
        except BaseException:
            path.unlink()  # it opens nothing, and who makes the folder the writer comes before the next try
            raise
