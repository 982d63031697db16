"""The cache may be deleted at any time, also while somebody works: backup, restore, verification, collection.

It is deleted before each single thing that is done to its files in turn: what Python tells its audit hooks of.
"""

import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.harm import flip
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import ResteadError
from restead.domain.ids import ManifestId
from restead.domain.verification import Depth
from restead.repository import Repository, Window

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.scandir", "os.listdir", "glob.glob", "pathlib.Path.glob"}


class _Watch:
    """Counts what is done to files below *folder*, and deletes it before the one with number *at*."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.at = 0
        self.count = 0
        self._lock = threading.RLock()
        self._deleting = False
        sys.addaudithook(self._hook)  # for ever: it does nothing without a folder

    @contextmanager
    def over(self, folder: Path, at: int = 0) -> Iterator[None]:
        self.folder, self.at, self.count = folder, at, 0
        try:
            yield
        finally:
            self.folder = None

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None or event not in EVENTS or not arguments or not isinstance(arguments[0], str | Path):
            return
        if not f"{arguments[0]}/".startswith(f"{self.folder}/"):
            return
        with self._lock:
            if self._deleting:
                return
            self.count += 1
            if self.count == self.at:
                self._deleting = True
                shutil.rmtree(self.folder, ignore_errors=True)
                self._deleting = False


@pytest.fixture(scope="module")
def watch() -> _Watch:
    return _Watch()


class Busy(House):
    """A repository with two backups of a disk and one that was deleted, to which it comes back again and again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, chunk_size=4096, threads=2)
        self.disk = MemoryDisk.of(random.Random(1).randbytes(60_000))
        first = self.save(self.disk)
        self.disk.write_at(20_000, b"changed" * 1000)
        self.second = self.save(self.disk, first)
        self.repository.delete([self.save(MemoryDisk.of(random.Random(2).randbytes(20_000)))])
        self._objects = dict(self.store._objects)

    def again(self, *, warm: bool = False) -> tuple[Repository, Path]:
        """Return the repository as it was, opened with a cache of its own, and where that is."""
        self.store._objects = dict(self._objects)
        repository = self.open()
        if warm:
            repository.manifest(self.second)
        return repository, self.folder / f"cache-{self._openings}"

    def require_whole(self, manifest: ManifestId, repository: Repository) -> None:
        target = MemoryDisk(self.disk.size)
        self.restore(manifest, target, repository=repository)
        assert self.disk.data == target.data


def back_up(busy: Busy, repository: Repository) -> None:
    with repository.session(PROJECT, label="full") as session:
        (manifest,) = session.commit([session.save(busy.disk, parent=None, description=ABOUT)])
    busy.require_whole(manifest, busy.open())
    data = random.Random(3).randbytes(30_000)
    with repository.session(PROJECT, label="new") as session:
        session.commit([session.save(MemoryDisk.of(data), parent=None, description=ABOUT)])


def restore(busy: Busy, repository: Repository) -> None:
    busy.require_whole(busy.second, repository)


def verify(busy: Busy, repository: Repository) -> None:
    for depth in Depth:
        found = repository.inspect(depth)
        assert not found.disks
        assert not found.findings


def collect(busy: Busy, repository: Repository) -> None:
    """Everything that nothing needs goes, if not in this round then in the next."""
    with busy.open().session(PROJECT, label="at work, so that what is unneeded is noted"):
        repository.collect()
    later = busy.open()
    later.collect()
    later.collect()
    later.collect()
    nothing = later.collect(dry=True)
    assert nothing == later.collect(dry=True)
    assert len(list(busy.store.list("packs/"))) < sum(name.startswith("packs/") for name in busy._objects)
    busy.require_whole(busy.second, busy.open())


DEEDS: list[Callable[[Busy, Repository], None]] = [back_up, restore, verify, collect]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("deed", DEEDS)
def test_the_cache_is_deleted_before_anything_that_is_done_to_it(
    tmp_path: Path, watch: _Watch, deed: Callable[[Busy, Repository], None], warm: bool
) -> None:
    """At every place in turn, until the deed is over before it comes to it: one half of them here, one there."""
    busy = Busy(tmp_path)
    at = 1 + warm
    while True:
        repository, cache = busy.again(warm=warm)
        with watch.over(cache, at):
            deed(busy, repository)
        if watch.count < at:
            break
        at += 2
    assert at > 5, "nothing was done to the cache: the test looks at another folder"


def test_damage_is_noted_though_the_cache_is_deleted_before_anything_that_is_done_to_it(
    tmp_path: Path, watch: _Watch
) -> None:
    """What is lost is found, whatever becomes of the file that says so."""
    busy = Busy(tmp_path)
    name = max(busy.store.list("packs/"), key=lambda each: each[1])[0]
    flip(busy.store, name, 100)
    busy._objects = dict(busy.store._objects)
    wanted = busy.open().inspect(Depth.OBJECTS)
    assert wanted.disks
    at = 1
    while True:
        repository, cache = busy.again()
        with watch.over(cache, at):
            assert repository.inspect(Depth.OBJECTS) == wanted
        if watch.count < at:
            break
        at += 1


def test_all_of_it_goes_on_while_somebody_deletes_the_cache_again_and_again(tmp_path: Path) -> None:
    """Several threads, one opened repository, and one that deletes whenever it can; every deed comes to its end."""
    busy = Busy(tmp_path)
    repository = Repository.open(busy.store, busy.key, cache=tmp_path / "shared", scratch=tmp_path, window=Window(2, 2))
    over, wrong = threading.Event(), list[BaseException]()

    def delete() -> None:
        while not over.wait(0.02):
            shutil.rmtree(tmp_path / "shared", ignore_errors=True)

    def work(seed: int) -> None:
        try:
            for round in range(3):
                data = random.Random(100 * seed + round).randbytes(30_000)
                with repository.session(PROJECT, label=f"{seed}") as session:
                    saved = session.save(MemoryDisk.of(data), parent=None, description=ABOUT)
                    (manifest,) = session.commit([saved])
                target = MemoryDisk(30_000)
                with repository.session(PROJECT, label=f"{seed}", reads=[manifest]) as session:
                    session.restore(manifest, target)
                assert target.data == data
                assert not repository.inspect(Depth.FULL).disks
                repository.collect()
        except (ResteadError, OSError, AssertionError) as error:
            wrong.append(error)

    deleter = threading.Thread(target=delete)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in (deleter, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    over.set()
    deleter.join()
    assert not wrong, wrong
