"""One step of restead on a repository in a folder: `python -m benchmarks.restead_step FOLDER STEP [DISK]`.

A fresh process for each step, through the doors that the service uses, with the same driver for disks.
"""

import os
import sys
from pathlib import Path

from restead.domain.ids import ProjectId
from restead.drivers.blobs import LocalBlobs
from restead.drivers.images import DiskDefinition, ImagesDriver, ServerDefinition
from restead.repository import DiskDescription, KeyFile, Repository

PROJECT = ProjectId("benchmark")


class Steward:
    """Keeps one repository: the objects in `repository`, all else beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = LocalBlobs(folder / "repository")

    def create(self) -> None:
        Repository.create(self._store, KeyFile.create(self._folder / "key"))

    def backup(self, path: Path) -> None:
        driver, server = self._server(path)
        volume = server.disks[0].id
        repository = self._opened()
        known = repository.manifests(PROJECT)
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
        newest = repository.manifests(PROJECT)[-1].id
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

    def verify(self) -> None:
        """Read and check every backup."""
        repository = self._opened()
        for entry in repository.manifests(PROJECT):
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
        return driver, driver.add(ServerDefinition(path.parent.name, PROJECT, (DiskDefinition(path, boot=True),)))


def main(folder: str, step: str, *disk: str) -> None:
    getattr(Steward(Path(folder)), step)(*map(Path, disk))


if __name__ == "__main__":
    main(*sys.argv[1:])
