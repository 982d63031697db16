"""Two processes tell one restore: one is stopped in the middle, believed dead, and goes on when the other is done."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.stories.two_processes import LEASE, PROJECT, SIZE, FileCloud, Part

from restead.domain.backup import BackupRequest
from restead.domain.caller import Caller, Role
from restead.domain.ids import RestoreId, ServerId, VolumeId
from restead.domain.listing import BackupFilter, Window
from restead.domain.restore import Mapping, Restore, RestoreRequest
from restead.domain.states import RestoreState
from restead.service import Service

ROOT = Path(__file__).parent.parent.parent
CALLER = Caller("u1", PROJECT, frozenset({Role.MEMBER}))


class Scene:
    """A server that was backed up and overwritten; its restore waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted = random.Random(1).randbytes(SIZE)
        self.disk = folder / "disk.raw"
        self.disk.write_bytes(self.wanted)
        self.part = Part(folder, FileCloud(folder))
        self.service = Service(self.part.records, self.part.cloud, self.part.engine.submit)
        self.service.checkpoints.protect(CALLER, PROJECT, BackupRequest(ServerId("server-1")))
        assert self.part.engine.run_next()
        self.before = bytes(self._every_other_piece_changed())
        self.disk.write_bytes(self.before)
        self.id = self._ask()

    def _every_other_piece_changed(self) -> bytearray:
        """Return what takes many writes to put right."""
        data = bytearray(self.wanted)
        for at in range(0, SIZE, 8192):
            data[at] ^= 1
        return data

    def _ask(self) -> RestoreId:
        (backup,) = self.service.backups.list(CALLER, PROJECT, BackupFilter(), Window()).items
        request = RestoreRequest(
            backup.checkpoint_id, backup.id, backup.server.id,
            (Mapping(backup.volumes[0].id, VolumeId("disk-1")),), power_on=False,
        )  # fmt: skip
        return self.service.restores.create(CALLER, PROJECT, request).id

    @property
    def restore(self) -> Restore:
        return self.service.restores.restore(CALLER, PROJECT, self.id)

    def another_process(self, kind: str, stop_at: int) -> subprocess.Popen[bytes]:
        """Start a process that tells the restore and stops itself; return when it has."""
        argv = [sys.executable, "-m", "tests.stories.two_processes", self.folder, kind, str(stop_at)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        child = subprocess.Popen(argv, cwd=ROOT, env=environment)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"it ended with {status} instead of stopping"
        return child

    def writes_of(self, child: subprocess.Popen[bytes]) -> int:
        return len((self.folder / f"writes-{child.pid}").read_text().splitlines())


@pytest.fixture
def scene() -> Iterator[Scene]:
    with TemporaryDirectory(prefix="restead-test-") as folder:
        made = Scene(Path(folder))
        yield made
        made.part.records.close()


@pytest.mark.parametrize("kind", ["forward", "back"])
def test_who_was_believed_dead_writes_nothing_after_his_next_check(scene: Scene, kind: str) -> None:
    """The winner brings the restore to its end before the loser wakes up; what he then has left stays."""
    child = scene.another_process(kind, stop_at=20)
    try:
        assert scene.restore.state is RestoreState.IN_PROGRESS
        assert not scene.part.engine.run_next()  # the lease stands: nobody takes it over
        until = time.monotonic() + LEASE.total_seconds() + 10
        while not scene.part.engine.run_next():
            assert time.monotonic() < until, "the lease did not run out"
            time.sleep(0.1)
        ended = scene.restore
        held = scene.disk.read_bytes()
        os.kill(child.pid, signal.SIGCONT)
        child.wait(30)
    finally:
        child.kill()
        child.wait()
    assert scene.writes_of(child) == 20
    assert scene.disk.read_bytes() == held
    assert scene.restore == ended
    if kind == "forward":
        assert (ended.state, held) == (RestoreState.SUCCESS, scene.wanted)
    else:
        assert (ended.state, held) == (RestoreState.FAIL, scene.before)
