"""A service's engine over files, made to be run in several processes at once: nothing but rows and leases between them.

    python -m tests.stories.two_processes FOLDER KIND STOP_AT

tells the one run that waits, and stops itself (SIGSTOP) right after the write number STOP_AT; KIND `back` lets a flush
fail first, so that those writes are of putting back.  The disks have no locks: what keeps two from writing is tested.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tests.fakes.disks import FileDisk
from tests.house import SECRET

from restead.domain.errors import NotFound, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.domain.server import Server, ServerStatus, Volume
from restead.drivers.blobs import LocalBlobs
from restead.ports import Buffer, Consistency, Moment
from restead.records import Records, utc_now
from restead.repository import Repository, Window
from restead.workflows import Engine, stories

PROJECT = ProjectId("p1")
LEASE = timedelta(seconds=5)
SIZE = 256 * 1024


class LoggedDisk(FileDisk):
    """Writes a line for each write it has done, and stops its process after one of them."""

    def __init__(self, cloud: "FileCloud", path: Path) -> None:
        super().__init__(path)
        self._cloud = cloud

    def write_at(self, offset: int, data: Buffer) -> None:
        super().write_at(offset, data)
        self._cloud.written()

    def flush(self) -> None:
        super().flush()
        if self._cloud.flush_fails:
            self._cloud.flush_fails = False
            raise Unavailable("the disk is dying")


class FileCloud:
    """One server with one disk, a file in *folder*."""

    def __init__(self, folder: Path, *, stop_at: int | None = None, flush_fails: bool = False) -> None:
        self._disk = folder / "disk.raw"
        self._log = folder / f"writes-{os.getpid()}"
        self._stop_at = stop_at
        self.flush_fails = flush_fails
        self._writes = 0
        volume = Volume(VolumeId("disk-1"), "disk", SIZE, bootable=True)
        self._server = Server(ServerId("server-1"), PROJECT, "web-1", ServerStatus.STOPPED, (volume,),
                              can_stop=True, can_start=True, description={})  # fmt: skip

    def written(self) -> None:
        if not self.flush_fails:  # of putting back, if there is to be one
            self._writes += 1
            with self._log.open("a") as log:
                log.write("write\n")
            if self._writes == self._stop_at:
                # To this thread: a signal to the process may be taken by another, a while and some writes later.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        if (project_id, server_id) != (PROJECT, self._server.id):
            raise NotFound(f"there is no server {server_id}")
        return self._server

    def servers(self, project_id: ProjectId) -> list[Server]:
        return [self._server]

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        pass

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        pass

    @contextmanager
    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> Iterator[Moment]:
        disk = FileDisk(self._disk)
        yield _Moment({volume_ids[0]: disk})
        disk.close()

    @contextmanager
    def open_target(self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId) -> Iterator[LoggedDisk]:
        disk = LoggedDisk(self, self._disk)
        yield disk
        disk.close()


class _Moment:
    consistency = Consistency.OFFLINE

    def __init__(self, sources: dict[VolumeId, FileDisk]) -> None:
        self.sources = sources
        self.taken_at = utc_now()


class Part:
    """What one process needs: records, repository, cloud and an engine over them."""

    def __init__(self, folder: Path, cloud: FileCloud) -> None:
        self.cloud = cloud
        self.records = Records.open(f"sqlite:///{folder}/records.db")
        self.records.migrate()
        self.store = LocalBlobs(folder / "store")
        if not list(self.store.list("keyring/")):
            Repository.create(self.store, SECRET, chunk_size=4096)
        self.repository = Repository.open(
            self.store, SECRET, cache=folder / f"cache-{os.getpid()}", scratch=folder, window=Window(1, 1)
        )
        told = stories(self.records, self.repository, cloud, cloud, grace=timedelta(seconds=1))
        self.engine = Engine(self.records, told, lease=LEASE, pauses=(0.01,))


def main(folder: Path, kind: str, stop_at: int) -> None:
    part = Part(folder, FileCloud(folder, stop_at=stop_at, flush_fails=kind == "back"))
    assert part.engine.run_next(), "nothing waits"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
