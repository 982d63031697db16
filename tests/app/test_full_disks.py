"""Disks that are full, below each thing that is written: requests are told, runs wait or fail, nothing is lost, and
everything goes on by itself as soon as there is space again."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.app.running import PROVIDER, Place, Running, service
from tests.app.weather import MIB, Scene, assert_come_again, wait_until
from tests.lab.far_away import FarAway
from tests.lab.memory_s3 import MemoryS3
from tests.lab.small_disk import SmallDisk, small_disk

_LOST = "log lines were lost: they could not be written"


class House:
    """A service each of whose places is on a small disk of its own."""

    def __init__(self, folder: Path, mounts: ExitStack) -> None:
        self.place = Place(folder)
        self.records = mounts.enter_context(small_disk(self.place.data, 8 * MIB))
        self.cache = mounts.enter_context(small_disk(self.place.data / "cache", 4 * MIB))
        self.repository = mounts.enter_context(small_disk(folder / "repository", 32 * MIB))
        self.log = mounts.enter_context(small_disk(folder / "log", 4 * MIB))
        self.place.log = folder / "log" / "service.log"
        self.place.environment["RESTEAD_STORE"] = str(folder / "repository")
        self.scene = Scene(self.place)

    def begin(self, running: Running) -> None:
        self.wanted = self.scene.contents()
        self.backup = running.wait_for_backup(running.begin_backup(self.scene.server))
        assert self.backup["status"] == "available"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as mounts:
        yield House(tmp_path_factory.mktemp("full"), mounts)


@pytest.fixture(scope="module")
def running(house: House) -> Iterator[Running]:
    with service(house.place) as running:
        house.begin(running)
        yield running


@pytest.fixture(autouse=True)
def space_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """One test's failure is not the next one's."""
    yield
    if "house" in request.fixturenames:
        house: House = request.getfixturevalue("house")
        for disk in (house.records, house.cache, house.repository, house.log):
            disk.free()


def test_records_without_space_are_read_on_and_say_so(house: House, running: Running) -> None:
    """What would have to be written down is refused before anything is done, and accepted a moment later.

    The first of these tests: SQLite's journal, once it was written back, has room for some changes without new space.
    """
    scene, before = house.scene, running.get("/checkpoint_items")["checkpoint_items"]
    house.records.fill()
    assert_come_again(scene.ask_backup(running), "there is no space for them")
    assert_come_again(running.http.post("/restores", json={"restore": {}}), "there is no space for them")
    deletion = f"/providers/{PROVIDER}/checkpoints/{house.backup['checkpoint_id']}"
    assert_come_again(running.http.delete(deletion), "there is no space for them")
    assert running.get("/checkpoint_items")["checkpoint_items"] == before
    assert running.get("/status")["status"]
    for words in (("token", "create", "--project", "p1"), ("server", "remove", "web-1")):
        done = house.place.run(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
        assert "there is no space for them" in done.stderr
    house.records.free()
    changed = scene.change()
    backup = running.wait_for_backup(running.begin_backup(scene.server))
    scene.change()
    assert running.wait_for_restore(running.begin_restore(backup["id"]))["status"] == "success"
    assert scene.contents() == changed
    house.place.restead("token", "create", "--project", "p1")
    scene.assert_quiet_log()


@pytest.mark.parametrize("name", ["repository", "cache"])
def test_runs_wait_for_space_and_go_on(house: House, running: Running, name: str) -> None:
    """A backup, then a restore, while there is none; whoever asks is answered."""
    disk: SmallDisk = getattr(house, name)
    scene, since = house.scene, house.scene.mark()
    changed = scene.change()
    disk.fill()
    backup = running.begin_backup(scene.server)
    tried = _tried_again(scene, disk, since)
    assert "No space left on device" in tried["reason"] or "no space for" in tried["reason"]
    assert running.backup(backup)["status"] == "protecting"
    assert running.backup(house.backup["id"])["status"] == "available"
    disk.free()
    assert running.wait_for_backup(backup)["status"] == "available"

    overwritten = scene.change()  # so that there is something new to be kept of it: what is known needs no space
    since = scene.mark()
    disk.fill()
    restore = running.begin_restore(house.backup["id"])
    _tried_again(scene, disk, since)
    assert scene.contents() == overwritten
    disk.free()
    assert running.wait_for_restore(restore)["status"] == "success"
    assert scene.contents() == house.wanted
    assert running.wait_for_restore(running.begin_restore(backup))["status"] == "success"
    assert scene.contents() == changed
    assert "sound" in house.place.run("repository", "verify").stderr
    scene.assert_quiet_log()


def _tried_again(scene: Scene, disk: SmallDisk, since: int) -> dict[str, Any]:
    """Wait until a run meets a disk that is full, and stays so: what ends meanwhile gives some space back."""

    def look() -> bool:
        disk.fill()
        return bool(scene.logged("step is tried again", since))

    wait_until(look, f"nothing was tried again for the want of space in {disk.path}")
    return scene.logged("step is tried again", since)[0]


def test_a_run_whose_records_lose_their_space_is_taken_up_again(house: House, running: Running) -> None:
    """In its middle, where each step wants to be noted; it is told once more and ends well, once."""
    scene = house.scene
    changed, since = scene.change(), scene.mark()
    backup = running.begin_backup(scene.server)
    house.records.fill()
    wait_until(
        lambda: bool(scene.logged("run left as it is", since) or scene.logged("run ended", since)),
        "the run neither ended nor was left",
    )
    house.records.free()
    assert running.wait_for_backup(backup)["status"] == "available"
    scene.change()
    assert running.wait_for_restore(running.begin_restore(backup))["status"] == "success"
    assert scene.contents() == changed
    scene.assert_quiet_log()


def test_a_log_without_space_stops_nothing_and_says_what_it_lacks(house: House, running: Running) -> None:
    """A line may be torn where the space ended; each later one is whole."""
    scene, changed = house.scene, house.scene.change()
    house.log.fill(but=200)
    backup = running.wait_for_backup(running.begin_backup(scene.server))
    assert backup["status"] == "available"
    scene.change()
    assert running.wait_for_restore(running.begin_restore(backup["id"]))["status"] == "success"
    assert scene.contents() == changed
    house.log.free()
    assert running.get("/servers")["servers"]
    # A request is logged once its answer is on its way.
    wait_until(lambda: _LOST in (told := _events(house)) and told[-1] == "request", "the request was not logged")
    lines = house.place.log.read_text().splitlines()
    torn = [number for number, line in enumerate(lines) if not _is_whole(line)]
    assert len(torn) <= 1
    told = json.loads(lines[-1 if not torn else torn[0] + 1])
    assert (told["event"], told["lines"] > 0) == (_LOST, True)
    assert json.loads(lines[-1])["event"] == "request"
    house.place.log.write_text("".join(line + "\n" for number, line in enumerate(lines) if number not in torn))


def _events(house: House) -> list[str]:
    lines = house.place.log.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if _is_whole(line)]


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "words", [("token", "list"), ("status",), ("server", "list"), ("repository", "list"), ("--help",)]
)
def test_a_command_whose_output_has_no_space_says_so(house: House, running: Running, words: tuple[str, ...]) -> None:
    """And ends with an exit code that is no success."""
    assert running.url
    done = house.place.run_into(Path("/dev/full"), *words)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr


# ---------------------------------------------------------------------- for longer than runs wait


@pytest.mark.long
@pytest.mark.parametrize("name", ["repository", "cache", "scratch"])
def test_a_disk_that_stays_full_fails_runs_and_says_why(tmp_path: Path, name: str) -> None:
    """All of them end; nothing was changed; and the next ones go well."""
    with ExitStack() as ending:
        if name == "scratch":
            place, scene, disk = _far_from_its_store(tmp_path, ending)
        else:
            house = House(tmp_path, ending)
            place, scene, disk = house.place, house.scene, getattr(house, name)
        wanted = scene.contents()
        with service(place) as running:
            good = running.wait_for_backup(running.begin_backup(scene.server))["id"]
            changed = scene.change()
            disk.fill()
            failed = running.wait_for_backup(running.begin_backup(scene.server))
            assert failed["status"] == "error"
            assert "no space" in failed["extend_info"]["fail_reason"].lower()
            assert running.wait_for_restore(running.begin_restore(good))["status"] == "fail"
            assert scene.contents() == changed
            disk.free()
            again = running.wait_for_backup(running.begin_backup(scene.server))
            assert again["status"] == "available"
            assert running.wait_for_restore(running.begin_restore(good))["status"] == "success"
            assert scene.contents() == wanted
            assert running.wait_for_restore(running.begin_restore(again["id"]))["status"] == "success"
            assert scene.contents() == changed
        assert "sound" in place.run("repository", "verify").stderr
        scene.assert_quiet_log()


def _far_from_its_store(folder: Path, ending: ExitStack) -> tuple[Place, Scene, SmallDisk]:
    place = Place(folder)
    place.data.mkdir(mode=0o700)
    way = ending.enter_context(FarAway("", weather=MemoryS3(), remember=False))
    disk = ending.enter_context(small_disk(place.data / "scratch", 24 * MIB))
    place.environment.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", RESTEAD_STORE="s3://bucket/home",
                             RESTEAD_S3_ENDPOINT=way.url)  # fmt: skip
    return place, Scene(place), disk
