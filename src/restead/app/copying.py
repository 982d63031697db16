"""A data folder's backups copied into another repository."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from restead.app.opening import Opened
from restead.app.stores import folder_of, open_store, window_for
from restead.cli.doors import Copying
from restead.domain.copied import Copied
from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import BackupId, ProjectId, RunId
from restead.domain.token import check_project
from restead.records import stock
from restead.repository import Copier, Disks, KeyFile, Passphrase, Repository, Secret
from restead.settings import first_line

_Called = tuple[str, str]  # id and name of a backup


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
    chosen = _chosen(opened, source, project, wanted.backups) if wanted.backups else None
    destination = _destination(opened, source, wanted)
    with _alone(opened, destination):
        copier = Copier(source, destination, told=told)
        backups = [
            disks for disks in copier.backups(project) if chosen is None or disks[0].session in chosen
        ]  # fmt: skip
        called = {(disks[0].project, disks[0].session_label): disks for disks in backups}
        for done in copier.copy_all(backups):
            id, name = _called(opened, source, called[done.project_id, done.run_id])
            yield replace(done, backup_id=BackupId(id) if id else None, name=name)


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


def _chosen(opened: Opened, source: Repository, project: ProjectId | None, texts: Sequence[str]) -> set[int]:
    """Return the sessions whose manifests these backups are."""
    found: dict[str, dict[int, _Called]] = {text: {} for text in texts}
    backups: dict[int, Disks] = {}
    for entry in source.log.refresh().manifests.values():
        if project in (None, entry.project):
            backups[entry.session] = [*backups.get(entry.session, ()), entry]
    for session, disks in backups.items():
        called = _called(opened, source, disks)
        for text in texts:
            if text in called:
                found[text][session] = called
    for text, those in found.items():
        if not those:
            raise NotFound(f"there is no backup {text} in the repository")
        if len(those) > 1:
            ids = ", ".join(id for id, _ in those.values())
            raise InvalidRequest(f"{len(those)} backups are called {text}, say which: {ids}")
    return {session for those in found.values() for session in those}


def _called(opened: Opened, source: Repository, disks: Disks) -> _Called:
    """Return id and name of a backup: as the lists have them, else as they stand beside its bytes."""
    with opened.records.read() as tx:
        rows = stock.of_run(tx, disks[0].project, RunId(disks[0].session_label))
    for row in rows:
        return row.id, row.name
    ((_, manifest),) = source.described(disks[:1])
    kept = {} if isinstance(manifest, Damaged) else manifest.description.server.get("backup")
    return (str(kept.get("id", "")), str(kept.get("name", ""))) if isinstance(kept, dict) else ("", "")
