"""A crowd that works on one repository at once, in any order, with deaths in between: see test_interleavings.py."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT
from tests.repository.interleaving import Actor, Baton, BatonStore, Late

from restead.domain.copied import CopyState
from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ManifestId
from restead.domain.verification import Depth
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import Copier, KeyFile, Repository, Window
from restead.repository.log import Condemn, Hold, Log, Open, Release
from restead.repository.witness import Witness

ROUNDS = 4  # collections, after which nothing more is to be found
CHUNK = 512
SECRET = KeyFile(bytes(range(32)))
POOL = [random.Random(number).randbytes(CHUNK) for number in range(5)] + [bytes(CHUNK)]

Objects = dict[str, bytes]  # name → bytes


@dataclass(frozen=True)
class Beginning:
    """What a case begins with: objects in the store, and what the manifests of each label hold."""

    objects: Objects
    wanted: dict[str, bytes]
    elsewhere: Objects  # in the store of a second repository


def begin(number: int, folder: Path) -> Beginning:
    """Return a store with some backups in it, and a snapshot of its log, so that a case replays only its own.

    In most of them there is something unfinished: notes of a backup that failed, a session of somebody who is dead,
    packs that are condemned though manifests need them.
    """
    luck, store = random.Random(f"beginning {number}"), MemoryBlobs()
    Repository.create(store, SECRET, chunk_size=CHUNK)
    repository = Repository.open(store, SECRET, cache=folder / f"begin-{number}", scratch=folder, window=Window(1, 1))
    wanted: dict[str, bytes] = {}
    for at in range(luck.randint(1, 3)):
        _backup(repository, luck, f"first {at}", wanted, fails=at > 0 and luck.random() < 0.3)
        if luck.random() < 0.6:
            packs = sorted(bytes.fromhex(name[-64:]) for name, _ in store.list("packs/"))
            repository.log.append(Condemn(luck.sample(packs, luck.randint(1, len(packs)))))
        if luck.random() < 0.1:
            repository.log.append(Open("backup", PROJECT))
    keyring = repository.keyring
    head = repository.log.refresh().head
    Log(store, keyring.control, keyring.repository_id, snapshot_every=head).refresh()
    second = MemoryBlobs()
    Repository.create(second, SECRET, chunk_size=CHUNK)
    return Beginning(dict(store._objects), wanted, dict(second._objects))


def _backup(repository: Repository, luck: random.Random, label: str, wanted: dict[str, bytes], *, fails: bool) -> None:
    wanted[label] = data = some(luck)
    try:
        with repository.session(PROJECT, label="backup") as session:
            disk = MemoryDisk.of(data)
            saved = session.save(disk, description=ABOUT, label=label, due=lambda: fails)
            if fails:
                raise NotFound("the server went away")
            session.commit([saved])
    except NotFound:
        pass


def some(luck: random.Random) -> bytes:
    """Return what a small disk holds."""
    return b"".join(luck.choice(POOL) for _ in range(luck.randint(1, 4)))


class Crowd:
    """One repository, what its manifests hold, and those who work on it.  *folder* is used up: caches stand in it."""

    def __init__(self, seed: int, folder: Path, beginning: Beginning) -> None:
        self.luck = random.Random(seed)
        self.folder = folder
        self.store, self.second = MemoryBlobs(), MemoryBlobs()
        self.store._objects.update(beginning.objects)
        self.second._objects.update(beginning.elsewhere)
        deaths = self.luck.choice([0, 0, 0.01, 0.03])
        if self.luck.random() < 0.3:
            self.baton = Baton(self.luck, deaths=deaths, turns=self.luck.choice([0.4, 0.1]))
        else:
            stops = [self.luck.randint(1, most) for most in self.luck.choice([(40,), (40, 150), (40, 150, 150)])]
            self.baton = Baton(self.luck, deaths=deaths, stops=stops)
        self.late: list[Late] = []
        self.wanted = dict(beginning.wanted)  # label of a disk → what all manifests of that label hold
        self.stale = False
        self._openings = 0

    def open(self, store: MemoryBlobs | None = None, *, alone: bool = False) -> Repository:
        """Open a repository as another process; *alone*: without the baton."""
        self._openings += 1
        store = store or self.store
        behind = store if alone else BatonStore(store, self.baton, self.late, self.luck)
        cache = self.folder / f"cache-{self._openings}"
        repository = Repository.open(behind, SECRET, cache=cache, scratch=self.folder, window=Window(1, 1))
        if self._openings % 8:  # nobody shows an older log or keyring here, and these files are a tenth of the work
            nobody = Witness(None, repository.keyring.repository_id)
            repository.log._witness = repository._seen._witness = nobody
        return repository

    def disk(self, data: bytes) -> tuple[MemoryDisk, str]:
        """Return a disk that holds *data*, and its label: what will be asked of whatever is committed under it."""
        label = f"{self.luck.getrandbits(64):x}"
        self.wanted[label] = data
        return MemoryDisk.of(data), label

    # ------------------------------------------------------------------ who works

    def writer(self) -> None:
        (disk, label), repository = self.disk(some(self.luck)), self.open()
        parents = [entry.id for entry in repository.manifests(PROJECT)]
        parent = self.luck.choice(parents) if parents and self.luck.random() < 0.6 else None
        reads = [parent] if parent else []
        if self.luck.random() < 0.3:  # goes on from what somebody has noted
            reads += repository.partial("backup")
        noting = self.luck.random() < 0.3
        with repository.session(PROJECT, label="backup", reads=reads) as session:
            saved = session.save(disk, parent=parent, description=ABOUT, label=label, due=lambda: noting)
            session.commit([saved])

    def restorer(self) -> None:
        repository = self.open()
        ids = [entry.id for entry in repository.manifests(PROJECT)]
        if not ids:
            return
        id = self.luck.choice(ids)
        with repository.session(PROJECT, label="restore", reads=[id]) as session:
            target = MemoryDisk(session.manifests[id].size)
            session.restore(id, target)
            assert target.data == self.wanted[session.manifests[id].label], "a restore gave other bytes"

    def pinner(self) -> None:
        """A restore that saves what it overwrites, and pins what it writes."""
        repository = self.open()
        ids = [entry.id for entry in repository.manifests(PROJECT)]
        if not ids:
            return
        id, before = self.luck.choice(ids), some(self.luck)
        with repository.session(PROJECT, label="restore", reads=[id]) as session:
            size = session.manifests[id].size
            target, label = self.disk(before.ljust(size, b"x")[:size] if len(before) < size else before)
            survey = session.survey(target, id, description=ABOUT, label=label)
            session.commit([survey], pins=[id])
            session.rewrite(survey, id, target)
            session.rewrite(id, survey, target)
            assert target.data == self.wanted[label], "putting back gave other bytes"
        repository.end(session.number, unpin=True)

    def deleter(self) -> None:
        repository = self.open()
        for _ in range(self.luck.randint(1, 3)):
            ids = [entry.id for entry in repository.manifests(PROJECT)]
            if ids:
                repository.delete(ids if self.luck.random() < 0.3 else [self.luck.choice(ids)])

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
            repository.collect(garbage=self.luck.choice([0.01, 0.5, 1.0]), small=self.luck.choice([0, 0, 2, 4]))

    def verifier(self) -> None:
        """Looks at everything; nothing is damaged, so nothing may be called so."""
        said = self.open().inspect(self.luck.choice(list(Depth)))
        assert self.stale or (said.findings, said.disks) == ([], [])

    def copier(self) -> None:
        """Copies all backups into a second repository, where others copy, too, and somebody may collect."""
        source, destination = self.open(), self.open(self.second)
        copier = Copier(source, destination, keep_every=self.luck.choice([CHUNK, 1 << 30]))
        for copied in copier.copy_all(copier.backups()):
            assert self.stale or copied.state is not CopyState.DAMAGED, copied.damage
        if self.luck.random() < 0.3:
            destination.collect(garbage=0.5)

    def rotator(self) -> None:
        """Gives new sealing keys to everybody while they work."""
        keyring = self.open().keyring
        for _ in range(self.luck.randint(1, 2)):
            keyring.rotate()

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
                self.luck.choice([self.store, self.second]).freeze_listing()
            elif self.luck.random() < 0.3:
                self._thaw()
            self._land(0.2)
        self._thaw()

    def _thaw(self) -> None:
        for store in (self.store, self.second):
            store.thaw_listing()

    def _land(self, chance: float) -> None:
        for late in list(self.late):
            if self.luck.random() < chance:
                self.late.remove(late)
                store, name, data = late
                store.put(name, data)

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
        """Let them work, then see that nothing is lost, that the rest goes, and that nothing is lost by that."""
        victims = [self.writer, self.writer, self.restorer, self.pinner, self.verifier, self.copier]
        dangers = [self.deleter, self.deleter, self.ender, self.ender, self.holder, self.rotator, self.weather]
        chosen = [self.luck.choice(victims), self.luck.choice(dangers), self.collector]
        chosen += self.luck.choices([*victims, *dangers, self.collector], k=self.luck.randint(0, 2))
        if self.luck.random() < 0.5:
            self.luck.shuffle(chosen)
        self.baton.run([Actor(f"{work.__name__} {at}", self.forgiving(work)) for at, work in enumerate(chosen)])
        self._thaw()
        self._land(1)
        last = self.open(alone=True)
        if self.luck.random() < 0.25:  # what is lost by now is lost in the end, too: this only tells when
            self._nothing_is_lost(last)
        self._the_rest_goes(last)
        self._nothing_is_lost(self.open(alone=True))
        if self.copier in chosen:
            self._nothing_is_lost(self.open(self.second, alone=True))

    def _nothing_is_lost(self, repository: Repository) -> None:
        ids: list[ManifestId] = [entry.id for entry in repository.manifests(PROJECT)]
        with repository.session(PROJECT, label="test", reads=ids) as session:
            for id, manifest in session.manifests.items():
                target = MemoryDisk(manifest.size)
                session.restore(id, target)
                assert target.data == self.wanted[manifest.label]

    def _the_rest_goes(self, repository: Repository) -> None:
        for number in list(repository.log.refresh().sessions):
            repository.end(number, unpin=True)
        repository.delete(repository.partial("backup"))
        small = 2 if self.luck.random() < 0.2 else 0
        for _ in range(ROUNDS):
            said = repository.collect(garbage=0.0001, small=small)
            if (said.condemned, said.garbage, said.removed, said.later, said.waiting) == (0, 0, 0, 0, ()):
                break
        else:
            pytest.fail(f"{ROUNDS} collections, and the last one still found {said}")
        if not repository.log.refresh().needed:
            assert list(self.store.list("packs/")) == []
