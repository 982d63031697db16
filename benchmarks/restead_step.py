"""One step of restead on a repository: `python -m benchmarks.restead_step FOLDER STEP [DISK …]`.

A fresh process for each step, through the doors that the service uses, with the same driver for disks.  The objects
are in FOLDER, or where the environment says, by the settings of the service.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from restead.domain.ids import ProjectId
from restead.drivers.blobs import LocalBlobs
from restead.drivers.images import DiskDefinition, ImagesDriver, ServerDefinition
from restead.ports import BlobStore, Consistency
from restead.repository import DiskDescription, Hint, KeyFile, ManifestEntry, Repository

PROJECT = ProjectId("benchmark")
BEFORE = "before"  # label of what a restore in place has overwritten


class Steward:
    """Keeps one repository: the objects in `repository`, all else beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: BlobStore = LocalBlobs(folder / "repository")

    def create(self) -> None:
        Repository.create(self._store, KeyFile.create(self._folder / "key"))

    def backup(self, path: Path) -> None:
        driver, server = self._server(path)
        volume = server.disks[0].id
        repository = self._opened()
        known = _backups(repository)
        parents = [known[-1].id] if known else []
        with (
            driver.open_moment(PROJECT, server.id, [volume]) as moment,
            repository.session(PROJECT, label="benchmark", reads=parents) as session,
        ):
            description = DiskDescription("system", moment.taken_at, moment.consistency)
            parent = parents[0] if parents else None
            session.commit([session.save(moment.sources[volume], parent=parent, description=description)])

    def restore(self, path: Path) -> None:
        """Restore the newest backup to a new file, durably."""
        repository = self._opened()
        newest = _backups(repository)[-1].id
        with path.open("xb") as file:
            file.truncate(repository.manifest(newest).root.size)
        driver, server = self._server(path)
        with (
            driver.open_target(PROJECT, server.id, server.disks[0].id) as target,
            repository.session(PROJECT, label="benchmark", reads=[newest]) as session,
        ):
            session.restore(newest, target, target_is_new=True)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the name of the new file, too
        os.close(folder)

    def restore_over(self, path: Path, safety: bool, changed: Path | None) -> None:
        """Restore the newest backup onto a file that holds something, in the order of the service's restores.

        *safety*: what is overwritten is stored first.  *changed*: JSON, (offset, length) of all that may differ from
        the newest backup.
        """
        repository = self._opened()
        newest = _backups(repository)[-1].id
        hint = Hint(newest, json.loads(changed.read_text()), guaranteed=True) if changed else None
        description = DiskDescription("system", datetime.now(UTC), Consistency.OFFLINE)
        driver, server = self._server(path)
        with (
            driver.open_target(PROJECT, server.id, server.disks[0].id) as target,
            repository.session(PROJECT, label="benchmark", reads=[newest]) as session,
        ):
            survey = session.survey(
                target, newest, description=description, label=BEFORE, keep=safety, hint=hint
            )
            session.check_wanted(survey, target)
            session.reserve(survey, survey.wanted, target)
            if safety:
                session.commit([survey], pins=[newest])
            session.rewrite(survey, newest, target, expect=True)
            session.release(survey, newest, target)
        if safety:
            repository.end(session.number, unpin=True)

    def verify(self) -> None:
        """Read and check every backup."""
        repository = self._opened()
        for entry in _backups(repository):
            with repository.session(PROJECT, label="benchmark", reads=[entry.id]) as session:
                session.verify(entry.id)

    def open(self) -> None:
        self._opened()

    def _opened(self) -> Repository:
        folder = self._folder
        key = KeyFile.read(folder / "key")
        return Repository.open(self._store, key, cache=folder / "cache", scratch=folder)

    def _server(self, path: Path) -> tuple[ImagesDriver, ServerDefinition]:
        driver = ImagesDriver(self._folder, self._folder)
        for server in driver.definitions():
            if server.disks[0].path == path:
                return driver, server
        return driver, driver.add(ServerDefinition(path.parent.name, PROJECT, (DiskDefinition(path, boot=True),)))


class StewardElsewhere(Steward):
    """Keeps a repository where the settings say, as the service does."""

    def __init__(self, folder: Path) -> None:
        from restead.app.stores import open_store, window_for  # not paid for by who needs no settings
        from restead.settings import read_settings

        settings = read_settings(data=folder)
        self._folder = folder
        self._store = open_store(settings.store, settings)
        self._window = window_for(settings.store, settings)

    def _opened(self) -> Repository:
        cache, key = self._folder / "cache", KeyFile.read(self._folder / "key")
        return Repository.open(self._store, key, cache=cache, scratch=self._folder, window=self._window)


def _backups(repository: Repository) -> list[ManifestEntry]:
    return [entry for entry in repository.manifests(PROJECT) if entry.label != BEFORE]


def main(folder: str, step: str, *arguments: str) -> None:
    steward = StewardElsewhere(Path(folder)) if os.environ.get("RESTEAD_STORE") else Steward(Path(folder))
    if step == "over":
        path, safety, *changed = arguments
        steward.restore_over(Path(path), safety == "safety", Path(changed[0]) if changed else None)
    else:
        getattr(steward, step)(*map(Path, arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
