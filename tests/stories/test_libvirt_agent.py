"""A real guest agent behind libvirt: file systems at rest in a backup that says so, and a guest that goes on whatever
becomes of the agent, or of us."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.drivers.images.conftest import runtime  # noqa: F401  fixture
from tests.house import PROJECT
from tests.lab.linuxdomain import MEMORY, LinuxDomain
from tests.lab.linuxguest import LinuxGuest, check_file_systems, journals_to_replay, make_disks, payloads
from tests.stories.libvirt_house import LibvirtHouse

from restead.domain.backup import Backup
from restead.domain.ids import ServerId
from restead.domain.server import Server
from restead.domain.states import BackupState

pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")
pytestmark = pytest.mark.long


class Lab:
    """A house with the Linux guest, which writes all the time, and a spare server like it."""

    def __init__(self, house: LibvirtHouse, sockets: Path) -> None:
        """*sockets*: a folder with a short path."""
        self.house, self._sockets = house, sockets
        self.server = self._defined("linux")
        house.driver.start(PROJECT, self.server.id)
        machines = house.machines
        self.guest = LinuxDomain(machines.domain(self.server), self._line("linux"), machines.serial_of(self.server.id))
        self.guest.ready()

    def _defined(self, name: str) -> Server:
        id, folder = str(uuid.uuid4()), self.house.machines.folder / name
        folder.mkdir()
        disks = make_disks(folder, name, mode="write")
        self.house.machines.define(id, name, PROJECT, disks, memory=MEMORY, line=self._line(name))
        found: Server = self.house.driver.server(PROJECT, ServerId(id))
        return found

    def _line(self, name: str) -> Path:
        return self._sockets / name

    def brought_back(self, backup: Backup) -> list[Path]:
        """Restore a backup onto a spare server; return its disks."""
        spare = self._defined("spare")
        restored = self.house.restore(backup, spare)
        assert restored.state.value == "success", restored.failure
        return [Path(volume.location) for volume in spare.volumes]

    def goes_on(self) -> bool:
        """Wait until the writer has come further, which takes file systems that are not frozen."""
        before = self.guest.report().data
        self.guest.run(f"while [ $(sed 's/^0*//' /data/sequence) -lt {before + 5} ]; do sleep 1; done")
        return self.house.left_in(self.server) == []


@pytest.fixture
def lab(tmp_path: Path, runtime: Path) -> Iterator[Lab]:  # noqa: F811
    house = LibvirtHouse(tmp_path, freeze_limit=timedelta(seconds=5))
    try:
        yield Lab(house, runtime)
    finally:
        house.close()


def test_a_backup_with_the_agent_has_file_systems_at_rest(lab: Lab) -> None:
    """Both disks are of one moment, no journal has to be replayed, the guest is thawed, and what is restored boots."""
    backup = lab.house.protect(lab.server, consistency="filesystem")
    assert (backup.state, backup.consistency, backup.failure) == (BackupState.AVAILABLE, "filesystem", None)
    assert backup.guest_pause_us is not None
    assert lab.guest.agent("guest-fsfreeze-status") == "thawed"
    assert lab.goes_on()
    disks = lab.brought_back(backup)
    assert not journals_to_replay(disks)
    check_file_systems(disks[:2])
    with LinuxGuest(disks) as again:
        report = again.ready()
    assert (report.marker, report.payloads, report.is_true_moment) == ("linux", payloads(), True)


def test_a_stopped_agent_is_no_file_system_at_rest(lab: Lab) -> None:
    """A backup that asks for it fails, one that does not says `crash`; the guest is not frozen by an agent that goes on
    later, and then it is asked again."""
    lab.guest.run("kill -STOP $(cat /run/qga.pid)")
    backup = lab.house.protect(lab.server, consistency="filesystem")
    assert backup.state is BackupState.ERROR
    assert backup.failure is not None
    assert "could not be frozen" in backup.failure.message
    assert lab.goes_on()
    crashed = lab.house.protect(lab.server)
    assert (crashed.state, crashed.consistency) == (BackupState.AVAILABLE, "crash")
    lab.guest.run("kill -CONT $(cat /run/qga.pid)")
    lab.house.wait(lab.guest.has_agent, 120)
    assert lab.guest.agent("guest-fsfreeze-status") == "thawed"
    assert lab.goes_on()
    assert lab.house.protect(lab.server, consistency="filesystem").state is BackupState.AVAILABLE
    disks = lab.brought_back(crashed)  # and that file systems at rest can be told from others
    assert len(journals_to_replay(disks)) == 2


def test_an_agent_that_ended_is_not_asked(lab: Lab) -> None:
    lab.guest.run("kill $(cat /run/qga.pid)")
    lab.house.wait(lambda: not lab.guest.has_agent(), 120)
    backup = lab.house.protect(lab.server, consistency="filesystem")
    assert backup.state is BackupState.ERROR
    assert lab.house.protect(lab.server).consistency == "crash"
    assert lab.goes_on()


_DIES_FROZEN = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from restead.domain.ids import ProjectId
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.drivers.libvirt.connection import Connection

class Wrapped:
    def __init__(self, inner): self._inner = inner
    def __getattr__(self, name): return getattr(self._inner, name)

class Domain(Wrapped):
    def backupBegin(self, *_): os.kill(os.getpid(), signal.SIGKILL)

class Opened(Wrapped):
    def lookupByUUIDString(self, id): return Domain(self._inner.lookupByUUIDString(id))

class Dying(Connection):
    def get(self): return Opened(super().get())

folder, runtime, uri, id = sys.argv[1:]
options = LibvirtOptions(uri, freeze_limit=timedelta(seconds=30))
driver = LibvirtDriver(Path(folder), Path(runtime), options, connection=Dying(uri))
server = driver.server(ProjectId({project!r}), id)
with driver.open_moment(server.project_id, server.id, [each.id for each in server.volumes]):
    pass
"""


def test_a_guest_that_was_frozen_by_one_who_died_is_thawed(lab: Lab) -> None:
    machines = lab.house.machines
    words = [str(machines.folder / "data"), str(machines.runtime), machines.uri, lab.server.id]
    code = _DIES_FROZEN.format(project=str(PROJECT))
    done = subprocess.run([sys.executable, "-c", code, *words], env=os.environ, timeout=200)
    assert done.returncode == -9
    assert lab.guest.agent("guest-fsfreeze-status") == "frozen"
    lab.house.driver.clean_up(lambda: None)
    assert lab.guest.agent("guest-fsfreeze-status") == "thawed"
    assert lab.goes_on()
