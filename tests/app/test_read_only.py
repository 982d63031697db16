"""File systems that the kernel makes read-only below a running service: who asks for a change is told to come again,
what only reads goes on, and so does everything when they can be written again."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.app.running import Place, service
from tests.app.weather import MIB, Scene, assert_come_again, wait_until
from tests.lab.loops import LoopDevices
from tests.lab.small_disk import small_disk

_WHY = "Read-only file system"


def test_a_repository_that_is_remounted_read_only_is_waited_for(tmp_path: Path) -> None:
    """A backup and a restore go on when it is writable again; disks hold what they held until then."""
    with ExitStack() as ending:
        place = Place(tmp_path)
        disk = ending.enter_context(small_disk(tmp_path / "repository", 64 * MIB))
        place.environment["RESTEAD_STORE"] = str(disk.path)
        scene = Scene(place)
        running = ending.enter_context(service(place))
        wanted = scene.contents()
        good = running.wait_for_backup(running.begin_backup(scene.server))["id"]
        scene.change()
        wait_until(lambda: disk.remount("ro"), "something is always written to the repository")
        assert place.run("repository", "list").returncode == 0
        since = scene.mark()
        backup = running.begin_backup(scene.server)  # from here on it waits for no longer than its tries last
        assert _WHY in scene.wait_logged("step is tried again", since)["reason"]
        until = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
        assert_come_again(running.http.post(f"/checkpoint_items/{good}/action", json={"hold": {"until": until}}), _WHY)
        assert {each["id"] for each in running.get("/checkpoint_items")["checkpoint_items"]} == {good, backup}
        assert disk.remount("rw")
        assert running.wait_for_backup(backup)["status"] == "available"

        changed = scene.change()
        wait_until(lambda: disk.remount("ro"), "something is always written to the repository")
        since = scene.mark()
        restore = running.begin_restore(good)
        assert _WHY in scene.wait_logged("step is tried again", since)["reason"]
        assert scene.contents() == changed
        assert disk.remount("rw")
        assert running.wait_for_restore(restore)["status"] == "success"
        assert scene.contents() == wanted
        assert "sound" in place.run("repository", "verify").stderr
        scene.assert_quiet_log()


class FailingDisk:
    """A file system on a device of its own, which the kernel makes read-only when it meets an error on it."""

    def __init__(self, image: Path, folder: Path, devices: LoopDevices) -> None:
        self._folder = folder
        self._device = devices.of(image)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        subprocess.run(["mount", "-o", "errors=remount-ro", str(self._device), str(self._folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(self._folder)], check=True)

    def fail(self) -> None:
        Path("/sys/fs/ext4", self._device.name, "trigger_fs_error").write_text("weather\n")

    def mend(self) -> None:
        done = subprocess.run(["e2fsck", "-fy", str(self._device)], capture_output=True, check=False)
        assert done.returncode in (0, 1), done


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FailingDisk]:
    image, folder = tmp_path / "image", tmp_path / "data"
    image.touch()
    subprocess.run(["truncate", "-s", "48M", str(image)], check=True)
    made = subprocess.run(["mkfs.ext4", "-q", "-m0", str(image)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no file system can be made: {made.stderr.decode().strip()}")
    folder.mkdir(0o700)
    try:
        devices = LoopDevices()
        yield FailingDisk(image, folder, devices)
    except AssertionError as error:
        pytest.skip(f"block devices need rights: {error}")
    finally:
        devices.close()


def test_records_on_a_file_system_that_failed_are_read_on(tmp_path: Path, failing: FailingDisk) -> None:
    """Nobody can make that one writable again before it was unmounted: the service ends in order, and goes on."""
    place = Place(tmp_path)
    with failing.mounted():
        (place.data / "lost+found").rmdir()
        place.data.chmod(0o700)
        place.environment["RESTEAD_STORE"] = str(tmp_path / "repository")
        scene = Scene(place)
        wanted = scene.contents()
        with service(place) as running:
            good = running.wait_for_backup(running.begin_backup(scene.server))["id"]
            changed = scene.change()
            before = running.get("/checkpoint_items")["checkpoint_items"]
            since = scene.mark()
            failing.fail()
            assert_come_again(scene.ask_backup(running))
            assert_come_again(running.http.post("/restores", json={"restore": {}}))
            assert running.get("/checkpoint_items")["checkpoint_items"] == before
            assert running.get("/status")["status"]
            assert place.run("token", "create", "--project", "p1").returncode == 3
            assert running.end() == 0
        assert "records are back" not in [line["event"] for line in place.log_lines()[since:]]
        assert scene.contents() == changed
    failing.mend()
    with failing.mounted(), service(place) as running:
        assert running.get("/checkpoint_items")["checkpoint_items"] == before
        assert running.wait_for_restore(running.begin_restore(good))["status"] == "success"
        assert scene.contents() == wanted
        assert running.wait_for_backup(running.begin_backup(scene.server))["status"] == "available"
    scene.assert_quiet_log()
