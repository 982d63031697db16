"""A data folder's backups copied into another repository."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from restead.app.naming import called_so, sessions_called
from restead.app.opening import Opened
from restead.app.stores import folder_of, open_store, window_for
from restead.cli.doors import Copying
from restead.domain.copied import Copied
from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import BackupId
from restead.domain.token import check_project
from restead.repository import Copier, KeyFile, Passphrase, Repository, Secret
from restead.settings import first_line


def copy_backups(
    opened: Opened, source: Repository, wanted: Copying, told: Callable[[int, int], None]
) -> Iterator[Copied]:
    """Copy them, and yield each.

    Raises:
        InvalidRequest: the other repository is this one, its key does not open it, or a name means several backups.
        NotFound: a backup that is named is not there.
        Unavailable: another copy to the same place is under way.
    """
    project = None if wanted.project is None else check_project(wanted.project)
    chosen = sessions_called(opened, source, project, wanted.backups) if wanted.backups else None
    destination = _destination(opened, source, wanted)
    with _alone(opened, destination):
        copier = Copier(source, destination, told=told)
        backups = [
            disks for disks in copier.backups(project) if chosen is None or disks[0].session in chosen
        ]  # fmt: skip
        called = {(disks[0].project, disks[0].session_label): disks for disks in backups}
        for done in copier.copy_all(backups):
            id, name = called_so(opened, source, called[done.project_id, done.run_id])
            yield replace(done, backup_id=BackupId(id) if id else None, name=name)


@contextmanager
def naming(which: str) -> Iterator[None]:
    """Let what is refused tell which of the two repositories it is about."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"{which}: {error.message}") from error


def _destination(opened: Opened, source: Repository, wanted: Copying) -> Repository:
    here = folder_of(opened.address)
    there = folder_of(wanted.address)
    if wanted.address == opened.address or (here and there and here.resolve() == there.resolve()):
        raise InvalidRequest(f"{wanted.address} is where this repository is")
    store = open_store(wanted.address, opened.settings)
    is_new = not any(store.list("keyring/"))
    secret = _secret(opened, wanted, is_new=is_new)
    if is_new:
        now = datetime.now(UTC).replace(microsecond=0)
        Repository.create(store, secret, chunk_size=source.chunk_size, label="made for a copy", at=now)
    scratch = there or opened.folder.path / "scratch"  # in a folder that is the store packs need not be copied
    scratch.mkdir(0o700, exist_ok=True)
    window = window_for(wanted.address, opened.settings)
    with naming(f"{wanted.address}, which is copied to"):
        return Repository.open(store, secret, cache=opened.folder.path / "cache", scratch=scratch, window=window)


def _secret(opened: Opened, wanted: Copying, *, is_new: bool) -> Secret:
    if wanted.key_file is not None:
        # Only for a repository that is made: to one that is there a new key is of no use.
        make = is_new and not wanted.key_file.exists()
        return KeyFile.create(wanted.key_file) if make else KeyFile.read(wanted.key_file)
    if wanted.passphrase_file is not None:
        return Passphrase(first_line(wanted.passphrase_file))
    return opened.secret()


@contextmanager
def _alone(opened: Opened, destination: Repository) -> Iterator[None]:
    """Be the only copy from this data folder to that repository: each ends what one before it has left open."""
    path: Path = opened.folder.path / "cache" / f"{destination.keyring.repository_id.hex()}.copying"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Unavailable("another copy to that repository is under way") from error
    finally:
        os.close(fd)
