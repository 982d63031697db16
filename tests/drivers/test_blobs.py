"""The blob stores: conformance of both, and the local one's folder, races and power cuts."""

import errno
import os
import random
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.blob_store import HASH, BlobStoreConformance, open_file
from tests.drivers.crash_disk import CrashDisk, PowerCut

from restead.domain.errors import NotFound, Unavailable
from restead.drivers.blobs import LocalBlobs, MemoryBlobs
from restead.drivers.blobs.calls import Calls
from restead.ports import BlobStore, Buffer


class TestMemoryBlobs(BlobStoreConformance):
    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobs()


class TestLocalBlobs(BlobStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalBlobs(tmp_path / "store")


class WithoutTmpfile(Calls):
    """A file system that has no O_TMPFILE, such as NFS."""

    def blank(self, folder: Path) -> int:
        return self._named_blank(folder)


class TestLocalBlobsWithoutTmpfile(BlobStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[BlobStore]:
        yield LocalBlobs(tmp_path, calls=WithoutTmpfile())
        assert list((tmp_path / "=tmp").iterdir()) == []


@pytest.fixture
def local(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "store")


def test_a_stale_listing_shows_the_past_and_gets_show_the_present() -> None:
    store = MemoryBlobs()
    store.put("log/1", b"x")
    store.freeze_listing()
    store.put("log/2", b"y")
    store.delete("log/1")
    assert list(store.list("")) == [("log/1", 1)]
    assert store.get("log/2") == b"y"
    store.thaw_listing()
    assert list(store.list("")) == [("log/2", 1)]


def test_everything_is_private_to_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = LocalBlobs(tmp_path / "a" / "store")
        store.put(f"packs/{HASH}", b"x")
        with open_file(b"y") as fd:
            store.put_file("packs/named", fd)
        fd = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR, 0o666)
        store.put_file("packs/nameless", fd)
        os.close(fd)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o400}


def test_names_that_are_hashes_are_fanned_out(local: LocalBlobs, tmp_path: Path) -> None:
    local.put(f"packs/{HASH}", b"x")
    assert (tmp_path / "store" / "packs" / "=3f" / HASH).read_bytes() == b"x"


def test_a_nameless_file_is_taken_without_a_copy(local: LocalBlobs, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"once written")
    local.put_file("packs/a", fd)
    assert (tmp_path / "store" / "packs" / "a").stat().st_ino == os.fstat(fd).st_ino
    assert local.put_file("packs/a", fd) is False
    os.close(fd)


def test_a_deleted_file_is_copied(local: LocalBlobs, tmp_path: Path) -> None:
    """It has no name, like an O_TMPFILE, but the kernel refuses to give it one again."""
    path = tmp_path / "gone"
    with open(path, "w+b") as file:
        file.write(b"still open")
        file.flush()
        path.unlink()
        assert local.put_file("packs/a", file.fileno()) is True
    assert local.get("packs/a") == b"still open"


def test_a_file_of_another_file_system_is_copied(tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.fail("this test needs /dev/shm on a file system of its own")
    store, data = LocalBlobs(tmp_path), os.urandom(100_000)
    fd = os.open(shared_memory, os.O_TMPFILE | os.O_RDWR)
    os.write(fd, data)
    assert store.put_file("packs/a", fd) is True
    os.close(fd)
    assert store.get("packs/a") == data


def test_what_is_no_regular_file_is_refused(local: LocalBlobs) -> None:
    reading, writing = os.pipe()
    with pytest.raises(ValueError, match="no regular file"):
        local.put_file("packs/a", reading)
    os.close(reading)
    os.close(writing)


class FullDisk(Calls):
    def write(self, fd: int, parts: Sequence[Buffer]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_how_much_was_wanted_and_how_much_is_free(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, calls=FullDisk())
    with pytest.raises(Unavailable, match=r"no space for log/1: 12345 bytes wanted, \d+ free in "):
        store.put("log/1", bytes(12345))
    assert list(store.list("")) == []


class FailingSync(Calls):
    def fsync(self, fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_what_could_not_be_synced_is_not_there(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path, calls=FailingSync())
    with pytest.raises(Unavailable, match="log/1 cannot be reached: Input/output error"):
        store.put("log/1", b"x")
    with pytest.raises(NotFound):
        store.get("log/1")


def test_a_folder_that_has_vanished_is_unavailable_for_puts(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "store")
    (tmp_path / "store" / "=tmp").rmdir()
    (tmp_path / "store").rmdir()
    with pytest.raises(Unavailable, match="log/1 cannot be reached"):
        store.put("log/1", b"x")


def test_blank_files_of_dead_makers_are_swept_and_those_of_living_ones_are_left(tmp_path: Path) -> None:
    LocalBlobs(tmp_path)
    living = WithoutTmpfile()
    fd = living.blank(tmp_path / "=tmp")
    (tmp_path / "=tmp" / "dead").write_bytes(b"half")
    LocalBlobs(tmp_path)
    assert len(list((tmp_path / "=tmp").iterdir())) == 1
    living.close(fd)
    assert list((tmp_path / "=tmp").iterdir()) == []


def test_only_so_many_files_stay_open(local: LocalBlobs) -> None:
    for n in range(200):
        local.put(f"packs/{n:064x}", b"x")
        local.get_range(f"packs/{n:064x}", 0, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) < 100 + threading.active_count()


_PUTTER = """
import sys
from pathlib import Path
from restead.drivers.blobs import LocalBlobs
store, me = LocalBlobs(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for n in range(100):
    print(int(store.put(f"log/{n}", (me + " ").encode() * 1000)))
"""


def test_of_eight_processes_exactly_one_wins_each_name(tmp_path: Path) -> None:
    putters = [
        subprocess.Popen([sys.executable, "-c", _PUTTER, str(tmp_path), str(n)], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(8)
    ]  # fmt: skip
    for putter in putters:
        assert putter.stdout is not None
        assert putter.stdout.readline() == "ready\n"
    for putter in putters:
        assert putter.stdin is not None
        putter.stdin.write("\n")
        putter.stdin.flush()
    won = [putter.communicate(timeout=60)[0].split() for putter in putters]
    store = LocalBlobs(tmp_path)
    for n in range(100):
        winners = [who for who in range(8) if won[who][n] == "1"]
        assert len(winners) == 1
        assert store.get(f"log/{n}") == f"{winners[0]} ".encode() * 1000


class Story:
    """Puts and deletes on a local store; knows what it was promised until the power went."""

    def __init__(self, root: Path, calls: Calls) -> None:
        self.bodies = {f"packs/{HASH}": b"pack " * 99, "log/1": b"one", "log/2": b"two", "packs/copied": b"c" * 999}
        self.there: set[str] = set()
        self.gone: set[str] = set()
        self.began: set[str] = set()
        self._root = root
        self._calls = calls

    def run(self) -> None:
        store = LocalBlobs(self._root, calls=self._calls)
        self._put("log/1", lambda name: store.put(name, [self.bodies[name][:3], self.bodies[name][3:]]))
        self._put("log/2", lambda name: store.put(name, self.bodies[name]))
        fd = os.open(self._root, os.O_TMPFILE | os.O_RDWR)
        os.write(fd, self.bodies[f"packs/{HASH}"])
        try:
            self._put(f"packs/{HASH}", lambda name: store.put_file(name, fd))
        finally:
            os.close(fd)
        with open_file(self.bodies["packs/copied"]) as named:
            self._put("packs/copied", lambda name: store.put_file(name, named))
        self.there.discard("log/1")
        store.delete("log/1")
        self.gone.add("log/1")

    def _put(self, name: str, put: Callable[[str], bool]) -> None:
        self.began.add(name)
        put(name)
        self.there.add(name)


def _keeps(kind: str, seed: int) -> Callable[[Path], bool]:
    chance = random.Random(seed)
    return {"nothing": lambda _: False, "everything": lambda _: True, "some": lambda _: chance.random() < 0.5}[kind]


@pytest.mark.parametrize("kind", ["nothing", "everything", "some"])
def test_the_power_may_go_before_any_call(kind: str) -> None:
    """After it every object that was promised is there, every other is complete or absent, and puts go on."""
    cut_at, finished = 0, False
    while not finished:
        cut_at += 1
        with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as after:
            disk = CrashDisk(Path(before), cut_at=cut_at)
            story = Story(Path(before), disk)
            try:
                story.run()
                finished = True
            except PowerCut:
                pass
            disk.left_behind(Path(after), _keeps(kind, cut_at))
            disk.close_all()
            _assert_kept(story, LocalBlobs(Path(after)))
    assert cut_at > 30


def _assert_kept(story: Story, store: LocalBlobs) -> None:
    found = {name: store.get(name) for name, _ in store.list("")}
    assert story.there <= set(found) <= story.began
    assert not story.gone & set(found)
    assert found == {name: story.bodies[name] for name in found}
    assert store.put("log/3", b"life goes on") is True


def test_a_put_that_came_second_is_a_promise_too(tmp_path: Path) -> None:
    """The first may not have synced its folder yet when the second is answered."""

    class Forgetful(CrashDisk):
        def fsync_folder(self, path: Path) -> None:
            if path.name != "log":
                super().fsync_folder(path)

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    first = Forgetful(before)
    LocalBlobs(before, calls=first).put("log/1", b"x")
    second = CrashDisk(before)
    second._synced_bytes, second._synced_names = first._synced_bytes, first._synced_names
    assert LocalBlobs(before, calls=second).put("log/1", b"x") is False
    second.left_behind(after, lambda _: False)
    assert LocalBlobs(after).get("log/1") == b"x"
