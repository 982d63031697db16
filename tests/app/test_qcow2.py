"""A server with a raw and a qcow2 disk, in a real service: backed up, restored, undone, and killed in the middle."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import PROJECT, Place, Running, service
from tests.drivers.image_files import bytes_of, needs_qemu_nbd, qemu_img

pytestmark = needs_qemu_nbd

_MIB = 1 << 20
_SIZE = 24 * _MIB
_SERVER = "f45c477a-57e5-465f-999f-d845083962db"
_OUTCOMES = {"success": "restored", "fail": "put_back"}


class Machine:
    """A server in a data folder, and its disks as a machine would see them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.place = Place(folder)
        self.raw = self.place.disk("system.raw", _SIZE, seed=1)
        self.image = folder / "data.qcow2"
        self.write(seed=2)
        self.place.restead(
            "server", "add", "web-1", "--project", PROJECT, "--id", _SERVER,
            "--disk", f"path={self.raw},boot", "--disk", f"path={self.image},format=qcow2",
        )  # fmt: skip

    def write(self, *, seed: int) -> None:
        """Put other bytes on the qcow2 disk: a third of it, at other places for other seeds; a new image each time."""
        raw = self.place.disk("data.raw", _SIZE - _MIB, seed=seed)
        with raw.open("r+b") as file:
            data = file.read()
            file.seek(0)
            file.write(bytes(seed % 3 * _MIB) + data)
            file.truncate(_SIZE)
        self.image.unlink(missing_ok=True)
        qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(self.image))
        raw.unlink()

    def damage(self) -> None:
        """Change both disks, the second one mostly where it was a hole."""
        self.write(seed=3)
        with self.raw.open("r+b") as file:
            file.seek(2 * _MIB)
            file.write(random.Random(4).randbytes(3 * _MIB))

    def disks(self) -> tuple[bytes, bytes]:
        return self.raw.read_bytes(), bytes_of(self.image, "qcow2")

    def holders(self) -> list[int]:
        """Return the processes that have the image open."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                open_files = [fd.readlink() for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if self.image in open_files:
                found.append(int(process.name))
        return found

    def qemu_nbd(self) -> list[int]:
        return [pid for pid in self.holders() if b"qemu-nbd" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "m")


def _wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.002)
    return found


def _throttle(running: Running, rate: int | None, admin: str) -> None:
    """Set how many bytes per second all restores may read and write, so that they are met in the middle."""
    body, headers = {"throttle": {"bytes_per_second": rate}}, {"X-Auth-Token": admin}
    assert running.http.post("/restores/action", json=body, headers=headers).status_code == 200


def test_both_disks_are_backed_up_restored_and_had_back(machine: Machine) -> None:
    wanted = machine.disks()
    with service(machine.place) as running:
        assert [v["size"] for v in running.get("/servers")["servers"][0]["volumes"]] == [_SIZE, _SIZE]
        backup = running.wait_for_backup(running.begin_backup(_SERVER))
        assert backup["status"] == "available"
        machine.damage()
        before, took = machine.disks(), machine.image.stat().st_blocks * 512
        restored = running.wait_for_restore(running.begin_restore(backup["id"]))
        assert (restored["status"], machine.disks()) == ("success", wanted)
        qemu_img("check", "-q", "-f", "qcow2", str(machine.image))
        assert machine.image.stat().st_blocks * 512 < took + _MIB  # what became zero was given back
        again = running.wait_for_restore(running.begin_restore(backup["id"]))
        assert (again["status"], again["stats"]["written"], machine.disks()) == ("success", 0, wanted)
        undo = running.post(f"/restores/{restored['id']}/action", {"undo": {"power_on": False}})["restore"]
        undone = running.wait_for_restore(undo["id"])
        assert (undone["status"], machine.disks()) == ("success", before)
        assert machine.holders() == []
    qemu_img("check", "-q", "-f", "qcow2", str(machine.image))
    assert list((machine.place.folder / "run").rglob("*.nbd")) == []


@pytest.mark.parametrize("later", [0.0, *(pytest.param(0.1 * n, marks=pytest.mark.long) for n in range(1, 8))])
def test_a_qemu_nbd_that_is_killed_in_the_middle_never_means_success_with_wrong_bytes(
    machine: Machine, later: float
) -> None:
    """The disks hold the backup or what they held before, and the restore says which."""
    wanted, admin = machine.disks(), machine.place.token("admin")
    with service(machine.place) as running:
        backup = running.wait_for_backup(running.begin_backup(_SERVER))
        machine.damage()
        before = machine.disks()
        _throttle(running, _SIZE, admin)
        restore = running.begin_restore(backup["id"])
        _wait(lambda: running.restore(restore)["volumes"][1]["outcome"] == "restoring")
        time.sleep(later)
        (pid,) = machine.qemu_nbd()
        os.kill(pid, signal.SIGKILL)
        _throttle(running, None, admin)
        ended = running.wait_for_restore(restore)
        assert machine.disks() == {"success": wanted, "fail": before}[ended["status"]]
        assert [volume["outcome"] for volume in ended["volumes"]] == [_OUTCOMES[ended["status"]]] * 2
        assert later > 0.0 or ended["status"] == "fail"  # it was met: what could not be written is put back
        again = running.wait_for_restore(running.begin_restore(backup["id"]))
        assert (again["status"], machine.disks()) == ("success", wanted)
        assert machine.holders() == []
    check = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(machine.image)])
    assert check.returncode in (0, 3)  # in order, but for clusters that nothing uses any more


@pytest.mark.parametrize(
    ("outcome", "later"),
    [
        ("restoring", 0.1),
        *(pytest.param("waiting", 0.1 * n, marks=pytest.mark.long) for n in range(6)),
        *(pytest.param("restoring", 0.15 * n, marks=pytest.mark.long) for n in range(6)),
    ],
)
def test_a_service_that_is_killed_in_the_middle_goes_on_after_its_restart(
    machine: Machine, outcome: str, later: float
) -> None:
    """While it compares, while it writes; no qemu-nbd is left behind, and the next one has the disk to itself."""
    wanted, admin = machine.disks(), machine.place.token("admin")
    with service(machine.place) as first:
        backup = first.wait_for_backup(first.begin_backup(_SERVER))["id"]
        machine.damage()
        _throttle(first, _SIZE, admin)
        restore = first.begin_restore(backup)
        _wait(machine.qemu_nbd)
        _wait(lambda: first.restore(restore)["volumes"][1]["outcome"] == outcome)
        time.sleep(later)
        first.kill()
    _wait(lambda: machine.holders() == [])
    with service(machine.place) as second:
        _throttle(second, None, admin)
        assert second.wait_for_restore(restore)["status"] == "success"
        assert machine.disks() == wanted
        assert machine.holders() == []


def test_a_missing_qemu_nbd_is_said_by_name(machine: Machine) -> None:
    """By the command that adds such a disk."""
    machine.place.environment["RESTEAD_QEMU_NBD"] = "no-such-program"
    disk = f"path={machine.image},format=qcow2"
    done = machine.place.run("server", "add", "web-2", "--project", PROJECT, "--disk", disk)
    assert "no-such-program was not found: qcow2 disks need it (Debian: qemu-utils)" in done.stderr
    assert done.returncode != 0
