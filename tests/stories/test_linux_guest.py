"""Real guests, with a kernel, file systems and an agent: backed up, destroyed, brought back, exported; all boot."""

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.app.running import PROJECT, Place, service
from tests.drivers.image_files import needs_qemu_nbd
from tests.lab.linuxguest import LinuxGuest, Report, check_file_systems, make_disks, payloads

pytestmark = [pytest.mark.long, needs_qemu_nbd]
_ENOUGH = 20  # rounds of the guest's writer


def _write_a_while(guest: LinuxGuest) -> None:
    """Let the writer come further."""
    before = guest.report().data
    guest.run(f"while [ $(sed 's/^0*//' /data/sequence) -lt {before + _ENOUGH} ]; do sleep 1; done")


def _add(place: Place, disks: list[Path]) -> None:
    words = [word for path in disks for word in ("--disk", f"path={path},name={path.stem}")]
    place.restead("server", "add", "linux-1", "--project", PROJECT, *words)


def _destroy(disks: list[Path]) -> None:
    """Random bytes, nothing at all, and a tenth of the third one gone."""
    with disks[0].open("r+b") as file:
        for at in range(0, disks[0].stat().st_size, 4 << 20):
            file.seek(at)
            file.write(os.urandom(1 << 20))
    size = disks[1].stat().st_size
    os.truncate(disks[1], 0)
    os.truncate(disks[1], size)
    with disks[2].open("r+b") as file:
        file.write(bytes(disks[2].stat().st_size // 10))


def _does_not_boot(disks: list[Path]) -> bool:
    with LinuxGuest(disks) as guest:
        try:
            guest.await_text("LAB-REPORTED")
        except TimeoutError:  # QEMU has ended, since no disk boots
            return True
    return False


def _reports(disks: list[Path], format: str = "raw") -> Report:
    with LinuxGuest(disks, format=format) as guest:
        report = guest.ready()
        guest.shut_down()
    return report


def test_a_guest_comes_back_and_so_does_its_export(tmp_path: Path) -> None:
    """Stopped in order, backed up, destroyed, restored: bit for bit, file systems whole, it boots; its export, too."""
    place, disks = Place(tmp_path), make_disks(tmp_path, "the real one", mode="write")
    with LinuxGuest(disks) as guest:
        assert guest.ready().payloads == payloads()
        _write_a_while(guest)
        guest.run("echo written by the guest >/data/note")
        guest.shut_down()
    check_file_systems(disks)
    wanted = [path.read_bytes() for path in disks]
    _add(place, disks)
    with service(place):
        place.restead("protect", "linux-1", "--name", "monday", code=0)
        for format in ("raw", "qcow2"):
            out = tmp_path / format
            place.restead("backup", "export", "monday", "--format", format, "-o", str(out))
        _destroy(disks)
        assert _does_not_boot(disks)
        place.restead("restore", "monday", "--yes", "--verify", "readback")
    assert [path.read_bytes() for path in disks] == wanted
    raws = [tmp_path / "raw" / f"{path.stem}.raw" for path in disks]
    assert [path.read_bytes() for path in raws] == wanted
    check_file_systems(disks)
    for found in ("raw", "qcow2"):
        report = _reports([tmp_path / found / f"{path.stem}.{found}" for path in disks], found)
        assert (report.marker, report.payloads, report.is_true_moment) == ("the real one", payloads(), True)
        assert report.data >= _ENOUGH
    with LinuxGuest(disks) as guest:
        assert guest.ready() == report
        assert "written by the guest" in guest.run("cat /data/note")
        guest.shut_down()
    check_file_systems(disks)


def test_a_guest_whose_power_was_cut_comes_back_as_it_was(tmp_path: Path) -> None:
    """In the middle of writing: both disks are of one moment in the backup, and journals replay after the restore."""
    place, disks = Place(tmp_path), make_disks(tmp_path, "cut off", mode="write")
    with LinuxGuest(disks) as guest:
        guest.ready()
        _write_a_while(guest)
        guest.kill()
    wanted = [path.read_bytes() for path in disks]
    _add(place, disks)
    with service(place):
        place.restead("protect", "linux-1", "--name", "crashed")
        _destroy(disks)
        place.restead("restore", "crashed", "--yes")
    assert [path.read_bytes() for path in disks] == wanted
    report = _reports(disks)
    assert (report.marker, report.payloads, report.is_true_moment) == ("cut off", payloads(), True)
    assert report.data >= _ENOUGH
    check_file_systems(disks[:2])


def test_a_copy_of_disks_one_after_the_other_is_no_moment(tmp_path: Path) -> None:
    """That the guest's writer tells a true moment from none: the data disk is copied some rounds before the other."""
    disks = make_disks(tmp_path, "copied", mode="write")
    copies = [tmp_path / f"copy-{path.name}" for path in disks]
    with LinuxGuest(disks) as guest:
        guest.ready()
        _write_a_while(guest)
        shutil.copy(disks[1], copies[1])
        _write_a_while(guest)
        shutil.copy(disks[0], copies[0])
        shutil.copy(disks[2], copies[2])
    with LinuxGuest(copies) as guest:
        report = guest.ready()
    assert not report.is_true_moment, report


def test_the_agent_freezes_and_thaws(tmp_path: Path) -> None:
    """Both ext4 file systems, and the writer stands still meanwhile."""
    disks = make_disks(tmp_path, "frozen", mode="write")
    with LinuxGuest(disks) as guest:
        guest.ready()
        assert guest.agent("guest-ping") == {}
        kinds = {each["mountpoint"]: each["type"] for each in guest.agent("guest-get-fsinfo")}
        assert {"/": "ext4", "/data": "ext4", "/fat": "vfat"}.items() <= kinds.items()
        assert guest.agent("guest-fsfreeze-freeze") >= 2
        try:
            assert guest.agent("guest-fsfreeze-status") == "frozen"
            frozen = [path.read_bytes() for path in disks[:2]]
            time.sleep(2)
            assert [path.read_bytes() for path in disks[:2]] == frozen
        finally:
            assert guest.agent("guest-fsfreeze-thaw") >= 2
        _write_a_while(guest)
        guest.shut_down()
