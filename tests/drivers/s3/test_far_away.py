"""A repository in a bucket where every request takes long: many are under way, and memory stays bounded."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.lab.far_away import FarAway
from tests.lab.memory_s3 import MemoryS3

from restead.domain.errors import Damaged, NotFound
from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service
from restead.repository import DiskDescription, KeyFile, Repository, Window
from restead.repository.log import Log

ROOT = Path(__file__).parents[3]
PROJECT = ProjectId("p1")
SECRET = KeyFile(bytes(range(32)))
ABOUT = DiskDescription("system", datetime(2026, 11, 26, tzinfo=UTC), "offline")
CHUNK = 4096
PAGE = 1024 * CHUNK  # bytes of disk that one leaf page names
FAR = Window(backup_threads=2, restore_threads=16, portion=64 << 10, span=64 << 10, ahead=8)
WHOLE = replace(FAR, restore_threads=32, whole=128 << 10)
ONE = replace(FAR, restore_threads=1, ahead=0)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "far")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "away")


class MissingOne:
    """A store that lists an object and does not have it."""

    def __init__(self, store: S3Blobs, missing: str) -> None:
        self._missing = missing
        self.list = store.list
        self._get = store.get

    def get(self, name: str) -> bytes:
        if name == self._missing:
            raise NotFound(name)
        return self._get(name)


class Far:
    """A repository of small chunks; requests take 50 ms as soon as it is `away`."""

    def __init__(self, way: FarAway, folder: Path) -> None:
        self.way = way
        self._folder = folder
        self._store = S3Blobs(S3Service("backups", "x", endpoint=way.url, retries=0))
        Repository.create(self._store, SECRET, chunk_size=CHUNK)

    def open(self, window: Window) -> Repository:
        return Repository.open(self._store, SECRET, cache=self._folder / "cache", scratch=self._folder, window=window)

    def save(self, disk: MemoryDisk) -> ManifestId:
        with self.open(FAR).session(PROJECT, label="save") as session:
            return session.commit([session.save(disk, description=ABOUT)])[0]

    def away(self) -> None:
        self.way.delay = 0.05
        self.way.forget()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with FarAway("", weather=MemoryS3()) as way:
        yield Far(way, tmp_path)


def full_disk(size: int = 8 << 20) -> MemoryDisk:
    return MemoryDisk.of(random.Random(1).randbytes(size), block=CHUNK)


def scattered_disk(pages: int = 48) -> MemoryDisk:
    """A disk of which each leaf page names one chunk."""
    disk, chance = MemoryDisk(pages * PAGE, block=CHUNK), random.Random(2)
    for page in range(pages):
        disk.write_at(page * PAGE + chance.randrange(1024) * CHUNK, chance.randbytes(CHUNK))
    disk.flush()
    return disk


def _restore(far: Far, window: Window, wanted: ManifestId, size: int) -> MemoryDisk:
    target = MemoryDisk(size, block=CHUNK)
    with far.open(window).session(PROJECT, label="restore", reads=[wanted]) as session:
        far.away()
        session.restore(wanted, target)
    return target


def test_a_restore_has_as_many_ranges_under_way_as_it_has_threads(far: Far) -> None:
    """And never more bytes than they have memory for."""
    disk = full_disk()
    wanted = far.save(disk)
    assert _restore(far, FAR, wanted, disk.size).data == disk.data
    assert 12 <= far.way.peak <= FAR.restore_threads + FAR.ahead
    assert max(asked.range for asked in far.way.seen) <= FAR.span
    assert far.way.peak_bytes <= FAR.restore_threads * FAR.span + FAR.ahead * (33 << 10)


def test_one_thread_has_one_request_under_way(far: Far) -> None:
    """What the others are compared with."""
    disk = full_disk(1 << 20)
    wanted = far.save(disk)
    assert _restore(far, ONE, wanted, disk.size).data == disk.data
    assert far.way.peak == 1


def test_a_verification_has_many_ranges_under_way(far: Far) -> None:
    disk = full_disk()
    wanted = far.save(disk)
    with far.open(FAR).session(PROJECT, label="verify", reads=[wanted]) as session:
        far.away()
        assert session.verify(wanted).read == disk.size
    assert far.way.peak >= 12
    assert far.way.peak_bytes <= FAR.restore_threads * FAR.span + FAR.ahead * (33 << 10)


def test_what_is_read_wholly_takes_few_large_requests(far: Far) -> None:
    """As many under way as there is memory for; a rewriting checks what is wanted in the same way."""
    disk = full_disk()
    wanted = far.save(disk)
    assert _restore(far, WHOLE, wanted, disk.size).data == disk.data
    _require_few(far)
    with far.open(WHOLE).session(PROJECT, label="verify", reads=[wanted]) as session:
        survey = session.survey(MemoryDisk(disk.size, block=CHUNK), wanted, description=ABOUT, keep=False)
        far.away()
        session.check_wanted(survey, MemoryDisk(disk.size, block=CHUNK))
        _require_few(far)
        far.away()
        assert session.verify(wanted).read == disk.size
    _require_few(far)


def _require_few(far: Far) -> None:
    assert sum(asked.range == 48 for asked in far.way.seen) <= 2  # a pack's header is asked for by one, for all
    large = [asked.range for asked in far.way.seen if asked.range > 33 << 10]
    assert max(large) <= WHOLE.whole + (32 << 10)
    assert len(large) <= (8 << 20) // WHOLE.whole * 1.25
    assert 12 <= far.way.peak <= WHOLE.restore_threads + WHOLE.ahead


def test_a_rewriting_has_many_ranges_under_way(far: Far) -> None:
    """While it checks what is wanted, and while it writes."""
    disk = full_disk()
    wanted, target = far.save(disk), MemoryDisk(disk.size, block=CHUNK)
    with far.open(FAR).session(PROJECT, label="rewrite", reads=[wanted]) as session:
        survey = session.survey(target, wanted, description=ABOUT)
        far.away()
        session.check_wanted(survey, target)
        assert far.way.peak >= 12
        session.commit([survey], pins=[wanted])
        far.way.forget()
        session.rewrite(survey, wanted, target, expect=True)
        assert far.way.peak >= 12
    assert target.data == disk.data


def test_pages_are_fetched_before_they_are_asked_for(far: Far) -> None:
    """A walk through a tree of 48 leaf pages has eight of them under way, and fetches none twice."""
    disk = scattered_disk()
    wanted = far.save(disk)
    with far.open(replace(ONE, ahead=8)).session(PROJECT, label="walk", reads=[wanted]) as session:
        survey = session.survey(MemoryDisk(disk.size, block=CHUNK), wanted, description=ABOUT, keep=False)
        far.away()
        again = session.survey(MemoryDisk(disk.size, block=CHUNK), wanted, description=ABOUT, keep=False)
    assert again.to_write == survey.to_write == 48 * CHUNK
    assert 6 <= far.way.peak <= 8 + 1
    assert len(far.way.seen) <= 48 + 1 + 10  # leaves, the page above them, and the session's end


def test_a_disk_of_scattered_chunks_is_restored_with_many_requests_under_way(far: Far) -> None:
    disk = scattered_disk()
    wanted = far.save(disk)
    assert _restore(far, FAR, wanted, disk.size).data == disk.data
    assert far.way.peak >= 8


def test_a_long_log_is_read_side_by_side(far: Far) -> None:
    """Each entry once, however they arrive."""
    repository = far.open(ONE)
    for number in range(20):
        with repository.session(PROJECT, label=str(number)):
            pass
    far.away()
    fresh = far.open(replace(ONE, ahead=8))
    assert fresh.log.refresh() == repository.log.refresh()
    entries = [asked.path for asked in far.way.seen if "/log/" in asked.path]
    assert far.way.peak == 8
    assert len(set(entries)) == 41  # and the one that is not there yet
    assert len(entries) <= 41 + 5


@pytest.mark.parametrize("missing", [7, 20])
def test_an_entry_that_is_listed_and_missing_ends_nothing_early(far: Far, missing: int) -> None:
    """Not the replay before it, as if that were the newest, because it was fetched together with others."""
    repository = far.open(ONE)
    for number in range(10):
        with repository.session(PROJECT, label=str(number)):
            pass
    memory = MissingOne(far._store, f"log/{missing}")
    log = Log(memory, repository.keyring.control, repository.keyring.repository_id, ahead=8)
    assert log.refresh().head == missing - 1
    assert log.refresh().head == missing - 1


def test_a_page_that_is_lost_is_told_where_it_belongs(far: Far) -> None:
    """Though it was fetched ahead, and perhaps never asked for."""
    disk = scattered_disk()
    wanted = far.save(disk)
    repository = far.open(FAR)
    with repository.session(PROJECT, label="verify", reads=[wanted]) as session:
        for name in [name for name, _ in far._store.list("packs/")][:1]:
            far._store.delete(name)
        with pytest.raises(Damaged, match="is missing") as caught:
            session.verify(wanted)
    assert caught.value.ranges


@pytest.fixture
def service() -> Iterator[str]:
    """A service in a process of its own, which answers after half a second."""
    command = [sys.executable, "-m", "tests.lab.memory_s3", "0.5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_files_are_put_side_by_side_and_from_no_memory_of_ours(service: str, tmp_path: Path) -> None:
    """Nothing of them is copied, other threads go on meanwhile, and three are under way at once."""
    store = S3Blobs(S3Service("backups", "x", endpoint=service, retries=0))
    size, turns, done = 48 << 20, 0, threading.Event()
    before = most = _anonymous()

    def put(number: int) -> bool:
        with (tmp_path / str(number)).open("w+b") as file:
            file.truncate(size)
            return store.put_file(f"packs/{number}", file.fileno())

    def watch() -> None:
        nonlocal most, turns
        while not done.wait(0.01):
            most = max(most, _anonymous())
            turns += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(put, range(3))) == [True] * 3
    done.set()
    watcher.join()
    assert turns >= 10  # in half a second at the least: nobody held the interpreter
    assert most - before < size // 2
    assert dict(store.list("")) == {f"packs/{number}": size for number in range(3)}


def _anonymous() -> int:
    """Bytes of memory of this process that are no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) * 1024
