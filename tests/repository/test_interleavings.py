"""Backups, restores, deletions, holds, ended sessions and collections at once, in any order, with deaths in between.

Nothing that a manifest needs is ever lost, and everything else is gone in the end.
`RESTEAD_FUZZ=100000 pytest tests/repository/test_interleavings.py` takes any number.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT
from tests.repository.interleaving import Actor, Baton, BatonStore

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ManifestId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import KeyFile, Repository, Window
from restead.repository.log import Hold, Release

CASES = int(os.environ.get("RESTEAD_FUZZ", "6000"))
FIRST = int(os.environ.get("RESTEAD_FUZZ_FIRST", "0"))
SHARES = 4
CHUNK = 512
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
SECRET = KeyFile(bytes(range(32)))
POOL = [random.Random(number).randbytes(CHUNK) for number in range(5)] + [bytes(CHUNK)]


class World:
    """One repository, what its manifests hold, and those who work on it."""

    def __init__(self, seed: int, folder: Path, empty: dict[str, bytes]) -> None:
        self.luck = random.Random(seed)
        self.folder = folder
        self.store = MemoryBlobs()
        self.store._objects.update(empty)
        self.baton = Baton(self.luck, deaths=self.luck.choice([0, 0, 0.01, 0.03]))
        self.late: list[tuple[str, bytes]] = []
        self.held: dict[ManifestId, bytes] = {}
        self.stale = False
        self._openings = 0

    def open(self, *, alone: bool = False) -> Repository:
        """Open the repository as another process; *alone*: without the baton."""
        self._openings += 1
        store = self.store if alone else BatonStore(self.store, self.baton, self.late, self.luck)
        cache = self.folder / f"cache-{self._openings}"
        return Repository.open(store, SECRET, cache=cache, scratch=self.folder, window=Window(1, 1))

    def data(self) -> bytes:
        return b"".join(self.luck.choice(POOL) for _ in range(self.luck.randint(1, 4)))

    # ------------------------------------------------------------------ who works

    def writer(self) -> None:
        data, repository = self.data(), self.open()
        parents = [entry.id for entry in repository.manifests(PROJECT)]
        parent = self.luck.choice(parents) if parents and self.luck.random() < 0.6 else None
        reads = [parent] if parent else []
        if self.luck.random() < 0.3:  # goes on from what somebody has noted
            reads += repository.partial("backup")
        noting = self.luck.random() < 0.3
        with repository.session(PROJECT, label="backup", reads=reads) as session:
            saved = session.save(MemoryDisk.of(data), parent=parent, description=ABOUT, due=lambda: noting)
            (id,) = session.commit([saved])
            self.held[id] = data

    def restorer(self) -> None:
        repository = self.open()
        ids = [entry.id for entry in repository.manifests(PROJECT)]
        if not ids:
            return
        id = self.luck.choice(ids)
        with repository.session(PROJECT, label="restore", reads=[id]) as session:
            target = MemoryDisk(repository.manifest(id).size)
            session.restore(id, target)
            assert id not in self.held or target.data == self.held[id], "a restore gave other bytes"

    def pinner(self) -> None:
        """A restore that saves what it overwrites, and pins what it writes."""
        repository = self.open()
        ids = [entry.id for entry in repository.manifests(PROJECT)]
        if not ids:
            return
        id, before = self.luck.choice(ids), self.data()
        with repository.session(PROJECT, label="restore", reads=[id]) as session:
            size = session.manifests[id].size
            target = MemoryDisk.of(before.ljust(size, b"x")[:size] if len(before) < size else before)
            there = target.data
            survey = session.survey(target, id, description=ABOUT)
            (safety,) = session.commit([survey], pins=[id])
            self.held[safety] = there
            session.rewrite(survey, id, target)
            session.rewrite(id, survey, target)
            assert target.data == there, "putting back gave other bytes"
        repository.end(session.number, unpin=True)

    def deleter(self) -> None:
        repository = self.open()
        for _ in range(self.luck.randint(1, 3)):
            ids = [entry.id for entry in repository.manifests(PROJECT)]
            if ids:
                repository.delete([self.luck.choice(ids)])

    def holder(self) -> None:
        repository = self.open()
        ids = [entry.id for entry in repository.manifests(PROJECT)]
        if ids:
            id, name = self.luck.choice(ids), f"holder {self.luck.random()}"
            repository.log.append(Hold(id, name))
            with pytest.raises(InvalidRequest):
                repository.delete([id])
            repository.log.append(Release(id, name))

    def collector(self) -> None:
        repository = self.open()
        for _ in range(self.luck.randint(1, 3)):
            repository.collect(garbage=self.luck.choice([0.01, 0.5, 1.0]))

    def ender(self) -> None:
        """Ends sessions that he believes dead, whether they are or not."""
        repository = self.open()
        for number in list(repository.log.refresh().sessions):
            if self.luck.random() < 0.5:
                repository.end(number, unpin=self.luck.random() < 0.3)

    def weather(self) -> None:
        """Listings show what was there some time ago; puts that were given up land."""
        for _ in range(self.luck.randint(1, 12)):
            self.baton.call()
            if self.luck.random() < 0.2:
                self.stale = True
                self.store.freeze_listing()
            elif self.luck.random() < 0.3:
                self.store.thaw_listing()
            self._land(0.2)
        self.store.thaw_listing()

    def _land(self, chance: float) -> None:
        for name, data in list(self.late):
            if self.luck.random() < chance:
                self.late.remove((name, data))
                self.store.put(name, data)

    def forgiving(self, work: Callable[[], None]) -> Callable[[], None]:
        """What others do may end anybody's work by these; nothing else may."""

        def run() -> None:
            try:
                work()
            except (NotFound, Unavailable, InvalidRequest):
                pass
            except Damaged:
                # What a listing hides is believed lost, loudly: nothing is removed or restored wrongly.
                if not self.stale:
                    raise

        return run

    # ------------------------------------------------------------------ what must be so

    def run(self) -> None:
        first = self.open(alone=True)
        for _ in range(self.luck.randint(1, 3)):
            data = self.data()
            with first.session(PROJECT, label="backup") as session:
                (id,) = session.commit([session.save(MemoryDisk.of(data), description=ABOUT)])
            self.held[id] = data
        kinds = [self.writer, self.writer, self.collector, self.collector, self.deleter, self.restorer, self.pinner,
                 self.holder, self.ender, self.weather]  # fmt: skip
        chosen = [self.writer, self.collector, *self.luck.choices(kinds, k=self.luck.randint(1, 4))]
        self.baton.run([Actor(f"{work.__name__} {at}", self.forgiving(work)) for at, work in enumerate(chosen)])
        self.store.thaw_listing()
        self._land(1)
        self._nothing_is_lost()
        self._the_rest_goes()

    def _nothing_is_lost(self) -> None:
        repository = self.open(alone=True)
        for entry in repository.manifests(PROJECT):
            with repository.session(PROJECT, label="test", reads=[entry.id]) as session:
                target = MemoryDisk(session.manifests[entry.id].size)
                session.restore(entry.id, target)
            # Of one whose maker died before he was told its number the bytes are not known: its root proves them.
            assert self.held.get(entry.id, target.data) == target.data

    def _the_rest_goes(self) -> None:
        repository = self.open(alone=True)
        for number in list(repository.log.refresh().sessions):
            repository.end(number, unpin=True)
        repository.delete(repository.partial("backup"))
        for _ in range(3):
            repository.collect(garbage=0.0001)
        self._nothing_is_lost()
        said = self.open(alone=True).collect(dry=True, garbage=0.0001)
        assert (said.condemned, said.garbage, said.later, said.waiting) == (0, 0, 0, ())
        if not repository.log.refresh().needed:
            assert list(self.store.list("packs/")) == []


def _empty() -> dict[str, bytes]:
    store = MemoryBlobs()
    Repository.create(store, SECRET, chunk_size=CHUNK)
    return dict(store._objects)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_nothing_is_lost_and_the_rest_goes_in_any_order(share: int) -> None:
    empty = _empty()
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        for seed in range(FIRST + share, FIRST + CASES, SHARES):
            place = Path(folder) / str(seed)
            place.mkdir()
            try:
                World(seed, place, empty).run()
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            shutil.rmtree(place)
