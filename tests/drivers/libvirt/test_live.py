"""Running domains: what is marked, and that nothing is left behind."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.conformance.cloud import MIB, PROJECT
from tests.conformance.live import await_, moment_of, running, sequences_in
from tests.conformance.servers import SHORT
from tests.conformance.volumes import read, target_of
from tests.drivers.image_files import qemu_img, to_qcow2
from tests.drivers.libvirt.cloud import LibvirtCloud
from tests.drivers.libvirt.conftest import Cloud
from tests.lab.domains import STOP_ALL, domain_xml, embed_root, in_own_process, qemu_of
from tests.lab.microguest import make_system_disk

from restead.domain.errors import Unavailable
from restead.domain.ids import VolumeId
from restead.domain.server import Server, ServerStatus
from restead.drivers.libvirt.left_over import LeftOver
from restead.drivers.libvirt.scratch import make_scratch
from restead.ports import BlockSource, TracksChanges

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")


@pytest.fixture
def raw(clouds: Cloud) -> LibvirtCloud:
    return clouds("embed")


@pytest.fixture
def qcow2(clouds: Cloud) -> LibvirtCloud:
    return clouds("embed", format="qcow2")


def left_over(cloud: LibvirtCloud, server: Server) -> list[str]:
    return cloud.left_over(server)


def checkpoints(cloud: LibvirtCloud, server: Server) -> list[str]:
    return [each.getName() for each in cloud.domain(server).listAllCheckpoints()]


def bitmaps(cloud: LibvirtCloud, server: Server) -> list[str]:
    """Return the names of the bitmaps in the images of a stopped server."""
    every = [json.loads(qemu_img("info", "--output=json", each.location)) for each in server.volumes]
    return [each["name"] for info in every for each in info["format-specific"]["data"].get("bitmaps", [])]


class Backups:
    """Backups of a server as the service makes them: complete copies, and a generation for each disk."""

    def __init__(self, cloud: LibvirtCloud, server: Server) -> None:
        self._cloud = cloud
        self._server = server
        self.copies: dict[VolumeId, bytes] = {}
        self.generations: dict[VolumeId, str] = {}
        self.known: list[bool] = []  # whether each disk knew its changes, at the last one

    def make(self, *, commit: bool = True) -> None:
        """Read what changed since the last one, all if the disk does not know; it must be all that differs."""
        copies, generations, self.known = {}, {}, []
        with moment_of(self._cloud, self._server) as moment:
            for id, source in moment.sources.items():
                assert isinstance(source, TracksChanges)
                ranges = source.changed_since(self.generations.get(id, ""))
                generations[id] = source.generation()
                self.known.append(ranges is not None)
                assert ranges is None or sum(length for _, length in ranges) <= source.size
                copies[id] = self._updated(id, source, ranges)
                assert copies[id] == read(source)
        if commit:
            self.copies, self.generations = copies, generations
            self._cloud.driver.retire(PROJECT, self._server.id, generations)

    def _updated(self, id: VolumeId, source: BlockSource, ranges: Sequence[tuple[int, int]] | None) -> bytes:
        copy = bytearray(self.copies.get(id, bytes(source.size)))
        for offset, length in [(0, source.size)] if ranges is None else ranges:
            copy[offset : offset + length] = read(source, offset, length)
        return bytes(copy)


def test_increments_read_what_was_written(qcow2: LibvirtCloud) -> None:
    """And all that was: each is compared with all of the disk.  Between two of them there is one checkpoint."""
    server = running(qcow2, "W")
    backups = Backups(qcow2, server)
    backups.make()
    for _ in range(3):
        first = backups.generations
        await_(lambda seen=sequences_now(qcow2, server): sequences_now(qcow2, server) > seen)
        backups.make()
        assert backups.known == [True, True]
        assert set(first.values()).isdisjoint(backups.generations.values())
        assert len(checkpoints(qcow2, server)) == 1
        assert left_over(qcow2, server) == []


def sequences_now(cloud: LibvirtCloud, server: Server) -> tuple[int, int]:
    """Return what the guest has written by now, by a backup that comes to nothing."""
    with suppress(KeyError), moment_of(cloud, server) as moment:
        found = sequences_in(server, moment)
        raise KeyError("that was all")
    return found


def test_backups_that_were_never_committed_cost_nothing_but_reading(qcow2: LibvirtCloud) -> None:
    """The next one is still built on the last that was, and lets those of the others go."""
    server = running(qcow2, "W")
    backups = Backups(qcow2, server)
    backups.make()
    for _ in range(2):
        backups.make(commit=False)
    assert len(checkpoints(qcow2, server)) == 3
    backups.make()
    assert backups.known == [True, True]
    assert len(checkpoints(qcow2, server)) == 1


def test_marks_are_kept_over_a_stop_and_are_nothing_after_a_restore(qcow2: LibvirtCloud) -> None:
    """A restore leaves neither checkpoints nor bitmaps: they would not know what it wrote."""
    server = running(qcow2, "W")
    backups = Backups(qcow2, server)
    backups.make()
    qcow2.servers.stop(PROJECT, server.id, grace=SHORT)
    qcow2.servers.start(PROJECT, server.id)
    backups.make()
    assert backups.known == [True, True]
    qcow2.servers.stop(PROJECT, server.id, grace=SHORT)
    assert len(bitmaps(qcow2, server)) == 2
    with target_of(qcow2, server, 1) as target:
        target.write_at(MIB, b"restored")
        target.flush()
    assert (checkpoints(qcow2, server), bitmaps(qcow2, server)) == ([], [])
    qcow2.servers.start(PROJECT, server.id)
    backups.make()
    assert backups.known == [False, False]
    assert backups.copies[server.volumes[1].id][MIB : MIB + 8] == b"restored"


def test_marks_that_were_cut_short_do_not_count(qcow2: LibvirtCloud) -> None:
    """QEMU was killed: it has not stored what it marked.  All is read, and a new chain begins."""
    server = running(qcow2, "W")
    backups = Backups(qcow2, server)
    backups.make()
    _kill(qcow2, server)
    qcow2.servers.start(PROJECT, server.id)
    backups.make()
    assert backups.known == [False, False]
    assert len(checkpoints(qcow2, server)) == 1
    backups.make()
    assert backups.known == [True, True]


def _kill(cloud: LibvirtCloud, server: Server) -> None:
    """Kill the server's QEMU."""
    os.kill(qemu_of(server.id), signal.SIGKILL)
    await_(lambda: cloud.servers.server(PROJECT, server.id).status is ServerStatus.STOPPED)


def test_with_snapshots_nothing_is_believed(qcow2: LibvirtCloud) -> None:
    """One who goes back to a snapshot changes the disk unmarked."""
    server = running(qcow2, "H")
    qcow2.servers.stop(PROJECT, server.id, grace=SHORT)
    domain = qcow2.domain(server)
    snapshot = domain.snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>")
    try:
        qcow2.servers.start(PROJECT, server.id)
        with moment_of(qcow2, server) as moment:
            assert not any(isinstance(source, TracksChanges) for source in moment.sources.values())
        assert checkpoints(qcow2, server) == []
    finally:
        domain.destroy()
        snapshot.delete()


def test_raw_disks_have_no_marks(raw: LibvirtCloud) -> None:
    server = running(raw, "W")
    with moment_of(raw, server) as moment:
        assert not any(isinstance(source, TracksChanges) for source in moment.sources.values())
    assert (checkpoints(raw, server), left_over(raw, server)) == ([], [])


def test_a_raw_and_a_qcow2_disk_go_together(raw: LibvirtCloud) -> None:
    """Both show one moment; the qcow2 disk is marked."""
    id, system, data = str(uuid.uuid4()), raw.folder / "system.raw", raw.folder / "data.raw"
    make_system_disk(system, "mixed", "W")
    data.write_bytes(bytes(2 * MIB))
    raw.define(id, "mixed", PROJECT, [system, to_qcow2(data)])
    server = raw.servers.servers(PROJECT)[0]
    raw.servers.start(PROJECT, server.id)
    for _ in range(3):
        with moment_of(raw, server) as moment:
            first, second = sequences_in(server, moment)
            assert first <= second <= first + 1
            assert [isinstance(each, TracksChanges) for each in moment.sources.values()] == [False, True]


def test_a_disk_that_was_plugged_in_is_one_of_the_servers(raw: LibvirtCloud, tmp_path: Path) -> None:
    """As long as it runs: what is defined for the next start says nothing of it, and does not have it then."""
    server, more = running(raw, "H"), tmp_path / "more.raw"
    more.write_bytes(b"plugged" + bytes(MIB - 7))
    raw.domain(server).attachDevice(
        f"<disk type='file'><driver name='qemu' type='raw'/><source file='{more}'/>"
        "<target dev='vdz' bus='virtio'/></disk>"
    )
    found = raw.servers.server(PROJECT, server.id)
    assert [volume.name for volume in found.volumes] == ["vda", "vdb", "vdz"]
    with moment_of(raw, found) as moment:
        assert read(moment.sources[found.volumes[2].id], 0, 7) == b"plugged"
    raw.servers.stop(PROJECT, server.id, grace=SHORT)
    assert raw.servers.server(PROJECT, server.id).volumes == server.volumes


def test_a_backup_that_breaks_off_leaves_nothing(qcow2: LibvirtCloud) -> None:
    server = running(qcow2, "W")
    backups = Backups(qcow2, server)
    backups.make()
    kept = checkpoints(qcow2, server)
    with pytest.raises(KeyError), moment_of(qcow2, server):
        raise KeyError("the story broke off")
    assert (checkpoints(qcow2, server), left_over(qcow2, server)) == (kept, [])
    backups.make()
    assert backups.known == [True, True]


def test_a_second_backup_at_the_same_time_is_refused(raw: LibvirtCloud) -> None:
    server = running(raw, "H")
    with moment_of(raw, server) as moment, pytest.raises(Unavailable, match="already"), moment_of(raw, server):
        read(moment.sources[server.volumes[0].id])
    assert left_over(raw, server) == []


def test_somebody_elses_backup_is_left_alone(raw: LibvirtCloud, tmp_path: Path) -> None:
    """libvirt makes one at a time; ours fails, and theirs goes on."""
    server = running(raw, "H")
    domain = raw.domain(server)
    disks = f"<disk name='vda' backup='yes' type='file'><scratch file='{tmp_path}/theirs'/></disk>"
    domain.backupBegin(f"<domainbackup mode='pull'><server transport='unix' socket='{raw.runtime}/x'/>"
                       f"<disks>{disks}</disks></domainbackup>", None, 0)  # fmt: skip
    with pytest.raises(Unavailable, match="not ours"), moment_of(raw, server):
        pass
    raw.driver.clean_up(lambda: None)
    assert "theirs" in domain.backupGetXMLDesc()
    domain.abortJob()
    (raw.runtime / "x").unlink(missing_ok=True)


@pytest.mark.long
def test_a_guest_that_nobody_can_thaw_is_rid_of_the_rest(raw: LibvirtCloud) -> None:
    """Its agent has become deaf: it stays noted until it has ended, but no backup job holds it up meanwhile."""
    server = running(raw, "H")
    domain, socket, scratch = raw.domain(server), raw.runtime / "x.live", raw.folder / "data/scratch/x.live"
    scratch.parent.mkdir(parents=True)
    disks = f"<disk name='vda' backup='yes' type='file'><scratch file='{scratch}'/></disk>"
    domain.backupBegin(f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/>"
                       f"<disks>{disks}</disks></domainbackup>", None, 0)  # fmt: skip
    note = json.dumps(asdict(LeftOver(str(socket), (str(scratch),), frozen=True)))
    (raw.folder / f"data/scratch/libvirt-{server.id}.note").write_text(note)
    with pytest.raises(Unavailable, match="virsh domfsthaw"):
        raw.driver.clean_up(lambda: None)
    assert left_over(raw, server) == [note]
    raw.servers.stop(PROJECT, server.id, grace=SHORT)
    raw.driver.clean_up(lambda: None)
    assert left_over(raw, server) == []


def test_without_space_for_all_that_may_be_overwritten_no_backup_begins(raw: LibvirtCloud) -> None:
    """It would be the guest that stands still when space runs out in the middle."""
    server = raw.make([4 * MIB, MIB], boots=True)
    with Path(server.volumes[1].location).open("r+b") as file:
        file.truncate(8 << 40)
    raw.servers.start(PROJECT, server.id)
    with pytest.raises(Unavailable, match=r"needs \d{13} bytes .* are free"), moment_of(raw, server):
        pass
    assert left_over(raw, server) == []
    assert raw.domain(server).state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_what_is_reserved_is_enough(tmp_path: Path) -> None:
    """An image that a guest overwrites as a whole takes no byte more than was allocated before."""
    path, size = tmp_path / "scratch", 64 * MIB
    make_scratch(path, size, "qemu-img")
    before = path.stat().st_blocks * 512
    assert before >= size
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 1 0 {size}", str(path)], check=True, capture_output=True)
    assert path.stat().st_blocks * 512 == before


# ------------------------------------------------------------------ kill -9

_CHILD = """
import sys, time
from pathlib import Path
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.domain.ids import ServerId, ProjectId
driver = LibvirtDriver(Path(sys.argv[1]), Path(sys.argv[2]), LibvirtOptions(sys.argv[3]))
server = driver.servers(ProjectId("p-one"))[0]
print("ready", flush=True)
while True:
    with driver.open_moment(server.project_id, server.id, [each.id for each in server.volumes]) as moment:
        for source in moment.sources.values():
            source.read_into(0, memoryview(bytearray(source.size)))
"""
_AFTERWARDS = """
from pathlib import Path
from restead.drivers.libvirt import LibvirtDriver, LibvirtOptions
from restead.drivers.libvirt.connection import Connection
class Same(Connection):
    def get(self): return connection
driver = LibvirtDriver(Path({data!r}), Path({runtime!r}), LibvirtOptions({uri!r}), connection=Same({uri!r}))
driver.clean_up(lambda: None)
domain = connection.listAllDomains()[0]
try: print("job", domain.backupGetXMLDesc())
except libvirt.libvirtError: pass
print("state", domain.state()[0])
print("checkpoints", len(domain.listAllCheckpoints()))
if {end!r}: domain.destroy()
"""


@pytest.fixture
def root() -> Iterator[Path]:
    root = embed_root()
    yield root
    uri = f"qemu:///embed?root={root}"
    in_own_process(uri, STOP_ALL)
    shutil.rmtree(root)


def _kill_at_random(root: Path, folder: Path, runtime: Path, luck: random.Random, kills: int) -> None:
    uri, system, data = f"qemu:///embed?root={root}", folder / "system.raw", folder / "data.raw"
    make_system_disk(system, "killed", "W")
    data.write_bytes(bytes(2 * MIB))
    xml = domain_xml(str(uuid.uuid4()), "killed", PROJECT, [to_qcow2(system), to_qcow2(data)], folder / "serial")
    in_own_process(uri, f"connection.defineXML({xml!r}).create()")
    for number in range(kills):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(folder / "d"), str(runtime), uri],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(luck.random() * 1.5)
        child.kill()
        child.wait()
        child.stdout.close()
        said = in_own_process(uri, _AFTERWARDS.format(
            data=str(folder / "d"), runtime=str(runtime), uri=uri, end=number == kills - 1))  # fmt: skip
        assert "job" not in said
        assert f"state {libvirt.VIR_DOMAIN_RUNNING}" in said
        left = [*folder.glob("d/scratch/*.live"), *runtime.glob("*.live")]
        assert left == []
        assert all(path.stat().st_size == 0 for path in folder.glob("d/scratch/*.note"))


def test_nothing_outlives_a_kill(root: Path, tmp_path: Path, runtime: Path) -> None:
    """Killed at any moment, the service leaves a domain that runs, and its successor ends what was begun."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    _kill_at_random(root, tmp_path, runtime, random.Random(seed), kills=2)


@pytest.mark.long
def test_nothing_outlives_many_kills(root: Path, tmp_path: Path, runtime: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    _kill_at_random(root, tmp_path, runtime, random.Random(seed), kills=int(os.environ.get("RESTEAD_FUZZ", "50")))
