"""Disks that this machine uses itself are seen, in trees that look like /proc and /sys."""

from pathlib import Path

import pytest

from restead.domain.errors import Unavailable
from restead.drivers.disks.backing import Backing, backing_of
from restead.drivers.disks.guard import Guard

MOUNTS = """22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw
30 27 8:16 / /srv/a\\040b rw,relatime shared:1 - xfs /dev/sdb rw
31 27 0:45 / /data rw - btrfs /dev/null rw
"""


class Machine:
    """A machine with a disk sda (two partitions, the second mounted), a mounted sdb, and an unused sdc."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        (self.proc / "self").mkdir(parents=True)
        (self.sys / "block").mkdir(parents=True)
        (self.sys / "dev/block").mkdir(parents=True)
        self.guard = Guard(self.proc, self.sys)
        self.mounts(MOUNTS)
        self.swaps([])
        for name, number in (("sda", "8:0"), ("sdb", "8:16"), ("sdc", "8:32")):
            self.device(name, number)
        for name, number in (("sda1", "8:1"), ("sda2", "8:2"), ("sdb1", "8:17"), ("sdc1", "8:33")):
            self.device(f"{name[:3]}/{name}", number)
            (self.sys / "devices" / name[:3] / name / "partition").write_text(f"{name[3]}\n")

    def mounts(self, text: str) -> None:
        (self.proc / "self/mountinfo").write_text(text)

    def swaps(self, names: list[str]) -> None:
        lines = [f"{name} file 1048572 0 -2\n" for name in names]
        (self.proc / "swaps").write_text("Filename Type Size Used Priority\n" + "".join(lines))

    def device(self, name: str, number: str) -> None:
        folder = self.sys / "devices" / name
        (folder / "holders").mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
        (self.sys / "dev/block" / number).symlink_to(folder)

    def loop(self, backing_file: str) -> None:
        folder = self.sys / "block/loop3/loop"
        folder.mkdir(parents=True)
        (folder / "backing_file").write_text(f"{backing_file}\n")

    def use_of(self, major: int, minor: int) -> str | None:
        return self.guard.use_of(Backing(Path(f"/dev/of-{major}-{minor}"), ("device", major, minor)))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    path.write_bytes(bytes(512))
    return path


def test_a_mounted_device_its_whole_disk_and_its_partitions_are_used(machine: Machine) -> None:
    assert machine.use_of(8, 2) == "is mounted at /"
    assert machine.use_of(8, 0) == "is mounted at /"  # the disk whose partition is mounted
    assert machine.use_of(8, 17) == "is mounted at /srv/a b"  # a partition of a disk that is mounted whole


def test_a_partition_beside_a_mounted_one_is_free(machine: Machine) -> None:
    assert machine.use_of(8, 1) is None


def test_an_unused_device_is_free(machine: Machine) -> None:
    assert machine.use_of(8, 32) is None
    assert machine.use_of(259, 7) is None  # one that /sys does not know


def test_a_file_system_with_a_number_of_its_own_is_known_by_its_source(machine: Machine) -> None:
    assert machine.use_of(1, 3) == "is mounted at /data"  # the source is /dev/null: 1:3 on every machine


def test_a_device_that_is_held_by_another_is_used(machine: Machine) -> None:
    (machine.sys / "devices/sdc/sdc1/holders/dm-0").mkdir()
    assert machine.use_of(8, 33) == "is held by dm-0"
    assert machine.use_of(8, 32) == "is held by dm-0"


def test_swap_is_seen_on_devices_and_in_files(machine: Machine, image: Path) -> None:
    machine.swaps(["/dev/of-8-32", str(image).replace("image", r"\151mage")])
    assert machine.use_of(8, 32) == "is used for swap"
    assert machine.guard.use_of(backing_of(image)) == "is used for swap"


def test_swap_by_another_name_of_the_file_is_seen(machine: Machine, image: Path) -> None:
    other = image.with_name("other")
    other.hardlink_to(image)
    machine.swaps([str(other)])
    assert machine.guard.use_of(backing_of(image)) == "is used for swap"


def test_a_file_behind_a_loop_device_is_used(machine: Machine, image: Path) -> None:
    link = image.with_name("link")
    link.symlink_to(image)
    machine.loop(str(link))
    assert machine.guard.use_of(backing_of(image)) == "is the backing file of loop device loop3"


def test_a_deleted_backing_file_of_a_loop_device_is_nobodys_disk(machine: Machine, image: Path) -> None:
    machine.loop("/gone (deleted)")
    assert machine.guard.use_of(backing_of(image)) is None


def test_a_kernel_without_swap_is_no_trouble(machine: Machine, image: Path) -> None:
    (machine.proc / "swaps").unlink()
    assert machine.guard.use_of(backing_of(image)) is None


def test_what_cannot_be_proven_is_refused(machine: Machine) -> None:
    """Without the list of mounts no device opens."""
    (machine.proc / "self/mountinfo").unlink()
    with pytest.raises(Unavailable, match="/dev/of-8-32"):
        machine.use_of(8, 32)


def test_this_machines_own_lists_can_be_read(image: Path) -> None:
    assert Guard().use_of(backing_of(image)) is None
