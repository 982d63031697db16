"""A domain of libvirt's in a real service beside a server of the images driver: backed up, destroyed, brought back."""

import contextlib
import json
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.running import PROJECT, Place, service
from tests.drivers.image_files import bytes_of, to_qcow2
from tests.lab.domains import STOP_ALL, domain_xml, embed_root, in_own_process
from tests.lab.microguest import await_report, make_data_disk, make_system_disk

pytest.importorskip("libvirt", reason="libvirt-python is not there: scripts/libvirt")

_MIB = 1 << 20


class Machine:
    """A domain with a raw and a qcow2 disk, and the service that knows it."""

    def __init__(self, folder: Path, root: Path) -> None:
        folder.mkdir()
        self.place = Place(folder)
        self.uri = f"qemu:///embed?root={root}"
        self.id = str(uuid.uuid4())
        self.serial = folder / "serial"
        self.system, data = folder / "system.raw", folder / "data.raw"
        make_system_disk(self.system, "libvirt", "H")
        make_data_disk(data, 8 * _MIB, seed=3)
        self.data = to_qcow2(data)
        xml = domain_xml(self.id, "domain-1", "elsewhere", [self.system, self.data], self.serial)
        in_own_process(self.uri, f"connection.defineXML({xml!r})")
        self.place.token()  # which makes the data folder
        self.place.environment["RESTEAD_LIBVIRT_URI"] = self.uri

    def disks(self) -> tuple[bytes, bytes]:
        return self.system.read_bytes(), bytes_of(self.data, "qcow2")

    def damage(self) -> None:
        self.system.write_bytes(bytes(4 * _MIB))
        raw = self.place.folder / "other.raw"
        make_data_disk(raw, 8 * _MIB, seed=4)
        to_qcow2(raw).replace(self.data)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    root = embed_root()
    machine = Machine(tmp_path / "m", root)
    yield machine
    in_own_process(machine.uri, STOP_ALL)
    shutil.rmtree(root)


def test_a_domain_is_backed_up_destroyed_and_brought_back(machine: Machine) -> None:
    """Its project is the settings' say; it boots from what was restored, and a server of images is beside it."""
    place, before = machine.place, machine.disks()
    place.environment["RESTEAD_LIBVIRT_PROJECTS"] = json.dumps({"domain-*": PROJECT})
    plain = place.disk("plain.raw", 2 * _MIB, seed=1)
    other = place.restead("server", "add", "plain", "--project", PROJECT, "--disk", f"path={plain}").strip()
    assert {line.split()[1] for line in place.restead("server", "list").splitlines()[1:]} == {"domain-1", "plain"}
    assert "libvirt's" in place.run("server", "remove", "domain-1").stderr
    with service(place) as running:
        backups = [running.begin_backup(id) for id in (machine.id, other)]
        for id in backups:
            backup = running.wait_for_backup(id)
            assert (backup["status"], backup["extend_info"].get("fail_reason", "")) == ("available", "")
        machine.damage()
        assert machine.disks() != before
        restore = running.wait_for_restore(running.begin_restore(backups[0], power_on=True))
        assert restore["status"] == "success", restore
        assert await_report(machine.serial).marker == "libvirt"
        # A running domain is stopped for its restore.
        restore = running.wait_for_restore(running.begin_restore(backups[0]))
        assert restore["status"] == "success", restore
        assert before == machine.disks()
    # And when all of it is lost, the domain too, it is defined again.
    assert "nothing is lost" in place.run("server", "recreate", backups[0]).stderr
    in_own_process(machine.uri, "[each.undefine() for each in connection.listAllDomains()]")
    for path in (machine.system, machine.data, machine.serial):
        path.unlink()
    assert place.restead("server", "recreate", backups[0]).strip() == machine.id
    with service(place) as running:
        restore = running.wait_for_restore(running.begin_restore(backups[0], power_on=True))
        assert restore["status"] == "success", restore
        assert await_report(machine.serial).marker == "libvirt"


def test_a_domain_is_its_metadatas_projects_if_nobody_says_otherwise(machine: Machine) -> None:
    """And nobody else's: not even its existence shows."""
    place = machine.place
    assert machine.id in place.restead("server", "list", "--project", "elsewhere")
    assert machine.id not in place.restead("server", "list", "--project", PROJECT)
    assert "no server" in place.run("server", "show", "domain-1", "--project", PROJECT).stderr


def test_a_connection_to_something_else_is_refused(machine: Machine) -> None:
    place = machine.place
    place.environment["RESTEAD_LIBVIRT_URI"] = "xen:///system"
    assert "'xen:///system' is no connection to QEMU" in place.run("server", "list").stderr


def test_a_service_says_at_its_start_that_another_machines_disks_do_not_open(tmp_path: Path) -> None:
    """And runs, for servers of images, while nobody answers over there."""
    place = Place(tmp_path)
    place.environment["RESTEAD_LIBVIRT_URI"] = "qemu+tcp://127.0.0.1:1/system"
    plain = place.disk("plain.raw", 2 * _MIB, seed=1)
    place.restead("server", "add", "plain", "--project", PROJECT, "--disk", f"path={plain}")
    with service(place):
        assert "cannot be reached" in place.run("server", "show", "no-such").stderr
    said = [line for line in place.log_lines() if line.get("host") == "127.0.0.1"]
    assert [line["level"] for line in said] == ["warning"]
    assert "are not backed up from here" in said[0]["event"]


def test_a_running_domain_is_backed_up_and_again_where_it_wrote(machine: Machine) -> None:
    """The second backup asks libvirt's checkpoint; one checkpoint is left, and the domain runs on."""
    place = machine.place
    place.environment["RESTEAD_LIBVIRT_PROJECTS"] = json.dumps({"*": PROJECT})
    in_own_process(machine.uri, "connection.lookupByName('domain-1').create()")
    await_report(machine.serial)
    with service(place) as running:
        found = [running.wait_for_backup(running.begin_backup(machine.id)) for _ in range(2)]
    for backup in found:
        assert (backup["status"], backup["extend_info"]["consistency"]) == ("available", "crash"), backup
        assert backup["extend_info"]["guest_pause_us"] is not None
    said = in_own_process(machine.uri, """
domain = connection.lookupByName('domain-1')
print(len(domain.listAllCheckpoints()), domain.state()[0])
""")  # fmt: skip
    assert said.split() == ["1", "1"]
    with contextlib.closing(sqlite3.connect(place.data / "records.sqlite")) as records:
        rows = records.execute("SELECT size, read FROM volume_backups ORDER BY backup_id, ordinal").fetchall()
    read = {(size, read) for size, read in rows}
    assert (8 * _MIB, 8 * _MIB) in read
    assert any(size == 8 * _MIB and part < size for size, part in read), rows
