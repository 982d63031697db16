"""Space that ends while a restore needs it: for what it overwrites, in the repository, and below its target disks.
Disks hold what they held, or what was backed up, and what waits goes on when there is space again."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.app.running import PROJECT, Place, service
from tests.app.weather import MIB, Scene, wait_until
from tests.drivers.image_files import bytes_of, needs_qemu_nbd, qemu_img
from tests.lab.small_disk import SmallDisk, small_disk

_SIZE = 8 * MIB  # of a disk
_FULL = "No space left on device"


def test_a_repository_that_gets_full_while_a_restore_keeps_what_it_overwrites(tmp_path: Path) -> None:
    """Nothing is overwritten before all of that is kept; then it can be undone."""
    with ExitStack() as ending:
        place = Place(tmp_path)
        disk = ending.enter_context(small_disk(tmp_path / "repository", 48 * MIB))
        place.environment["RESTEAD_STORE"] = str(disk.path)
        scene = Scene(place)
        running = ending.enter_context(service(place))
        wanted = scene.contents()
        backup = running.wait_for_backup(running.begin_backup(scene.server))["id"]
        for path, seed in zip(scene.disks, (7, 8), strict=True):
            new = place.disk("new", path.stat().st_size, seed=seed).read_bytes()
            path.write_bytes(new[::-1])
        overwritten, since = scene.contents(), scene.mark()
        disk.fill(but=MIB)  # of four that it would take
        restore = running.begin_restore(backup)
        tried = scene.wait_logged("step is tried again", since)
        assert _FULL in tried["reason"] or "no space for" in tried["reason"]
        assert running.restore(restore)["status"] == "in_progress"
        assert scene.contents() == overwritten
        disk.free()
        assert running.wait_for_restore(restore)["status"] == "success"
        assert scene.contents() == wanted
        undo = running.post(f"/restores/{restore}/action", {"undo": {"power_on": False}})["restore"]["id"]
        assert running.wait_for_restore(undo)["status"] == "success"
        assert scene.contents() == overwritten
        assert "sound" in place.run("repository", "verify").stderr
        scene.assert_quiet_log()


class Shed:
    """A server whose system disk has all the space it needs, and whose data disk is on a small file system."""

    def __init__(self, folder: Path, ending: ExitStack, kind: str) -> None:
        self.place = Place(folder)
        self.kind = kind
        self.space: SmallDisk = ending.enter_context(small_disk(folder / "small", 24 * MIB))
        self.system = self.place.disk("system.raw", _SIZE, seed=1)
        self.data = self.space.path / f"data.{kind}"
        raw = self.place.disk("data", _SIZE, seed=2)
        qemu_img("convert", "-f", "raw", "-O", kind, str(raw), str(self.data))
        raw.unlink()
        self.server = self.place.restead(
            "server", "add", "web-1", "--project", PROJECT, "--disk", f"path={self.system},boot",
            "--disk", f"path={self.data},format={kind}",
        ).split()[-1]  # fmt: skip

    def contents(self) -> list[bytes]:
        return [self.system.read_bytes(), bytes_of(self.data, self.kind)]

    def empty(self) -> list[bytes]:
        """Put another system disk in place, and a data disk that takes no space; return what they hold."""
        new = self.place.disk("new", _SIZE, seed=9)
        self.system.write_bytes(new.read_bytes())
        self.data.unlink()
        qemu_img("create", "-q", "-f", self.kind, str(self.data), str(_SIZE))
        return self.contents()


@needs_qemu_nbd
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_target_without_space_is_waited_for_or_put_back(tmp_path: Path, kind: str) -> None:
    """A file has its space reserved before the first write, so all waits; an image cannot, and is put back."""
    with ExitStack() as ending:
        shed = Shed(tmp_path, ending, kind)
        running = ending.enter_context(service(shed.place))
        wanted = shed.contents()
        backup = running.wait_for_backup(running.begin_backup(shed.server))["id"]
        before = shed.empty()
        shed.space.fill(but=MIB)
        restore = running.begin_restore(backup)
        if kind == "raw":
            _wait_for_try(shed.place)
            assert running.restore(restore)["status"] == "in_progress"
            assert shed.contents() == before
            shed.space.free()
            assert running.wait_for_restore(restore)["status"] == "success"
        else:
            ended = running.wait_for_restore(restore)
            assert (ended["status"], _FULL in str(ended)) == ("fail", True)
            assert shed.contents() == before
            shed.space.free()
            assert running.wait_for_restore(running.begin_restore(backup))["status"] == "success"
        assert shed.contents() == wanted


def _wait_for_try(place: Place) -> None:
    def tried() -> bool:
        lines = [line for line in place.log_lines() if line["event"] == "step is tried again"]
        return bool(lines) and _FULL in lines[-1]["reason"]

    wait_until(tried, "nothing is said of the space")
