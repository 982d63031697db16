"""A disk read in the order of the packs: the same bytes, counts and damage as in disk order, with few requests."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import Count, Window

CHUNK = 4096
FEW = Window(2, 2, portion=2 * CHUNK, span=3 * CHUNK)
WAYS = [Window(2, 2, portion=2 * CHUNK, span=3 * CHUNK, whole=chunks * CHUNK) for chunks in (1, 3, 8, 64)]


class Counting(MemoryBlobs):
    """A store that notes the ranges of packs that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        if name.startswith("packs/"):
            self.asked.append(length)
        return super().get_range(name, offset, length)


@dataclass
class Read:
    """What came of reading one disk in all ways there are."""

    data: bytes
    counts: Sequence[Count]
    damage: Sequence[object]


def a_disk(chance: random.Random, chunks: int) -> MemoryDisk:
    """Random, alike and zero chunks in runs, the last of them short."""
    alike, data = [chance.randbytes(CHUNK) for _ in range(3)], b""
    while len(data) < chunks * CHUNK:
        kind, run = chance.random(), chance.randint(1, 9)
        if kind < 0.5:
            data += chance.randbytes(run * CHUNK // 2) + bytes(run * CHUNK - run * CHUNK // 2)
        else:
            data += (bytes(CHUNK) if kind < 0.7 else chance.choice(alike)) * run
    return MemoryDisk.of(data[: chunks * CHUNK - 512 * chance.randint(0, 7)])


def scribbled(disk: MemoryDisk, chance: random.Random) -> None:
    for _ in range(8):
        disk.write_at(chance.randrange(disk.size // CHUNK - 1) * CHUNK, chance.randbytes(CHUNK))
    disk.flush()


def read(house: House, manifest: ManifestId, size: int, window: Window) -> Read:
    """Restore a disk to a new target and over another one's bytes, verify it, and check what a rewriting needs."""
    house.window = window
    with house.open().session(PROJECT, label="read", reads=[manifest]) as session:
        counts, damage = [], []
        target = MemoryDisk(size + CHUNK)
        other = MemoryDisk.of(random.Random(5).randbytes(size + CHUNK))
        survey = session.survey(other, manifest, description=ABOUT, keep=False)
        works = [
            lambda: session.verify(manifest),
            lambda: session.check_wanted(survey, other),
            lambda: session.restore(manifest, target),
        ]
        for work in works:
            try:
                counts.append(work())
                damage.append(None)
            except Damaged as error:
                damage.append(error.ranges if len(damage) < 2 else "refused")  # a restore stops at the first
    return Read(target.data, counts, damage)


@pytest.mark.parametrize("seed", range(6))
def test_the_same_comes_of_every_way(tmp_path: Path, seed: int) -> None:
    """Also for a disk that lies in many packs, with chunks that are there twice, holes, and a short end."""
    chance, house = random.Random(seed), House(tmp_path, chunk_size=CHUNK)
    disk = a_disk(chance, chance.choice((5, 60, 1500)))
    wanted = house.save(disk)
    for _ in range(3):
        scribbled(disk, chance)
        wanted = house.save(disk, wanted)
    first = read(house, wanted, disk.size, FEW)
    assert first.data == disk.data + bytes(CHUNK)
    for window in WAYS:
        assert read(house, wanted, disk.size, window) == first, window


@pytest.mark.parametrize("seed", range(4))
def test_the_same_damage_is_found(tmp_path: Path, seed: int) -> None:
    chance, house = random.Random(seed), House(tmp_path, chunk_size=CHUNK)
    disk = a_disk(chance, 200)
    wanted = house.save(disk)
    scribbled(disk, chance)
    wanted = house.save(disk, wanted)
    packs = sorted(house.store.list("packs/"), key=lambda each: -each[1])
    for name, size in packs[:1] if seed else packs[-1:]:
        data = bytearray(house.store.get(name))
        for at in (chance.randrange(48, size // 2) for _ in range(3)):
            data[at] ^= 1
        house.store.delete(name)
        if seed < 3:
            house.store.put(name, bytes(data))
    first = read(house, wanted, disk.size, FEW)
    assert any(first.damage)
    for window in WAYS:
        assert read(house, wanted, disk.size, window).damage == first.damage, window


def test_requests_are_few_and_no_larger_than_was_said(tmp_path: Path) -> None:
    """A backup by two threads leaves neighbours in two packs: both are read in long runs."""
    store = Counting()
    house = House(tmp_path, chunk_size=CHUNK, store=store)
    disk = MemoryDisk.of(random.Random(1).randbytes(24 << 20))
    wanted = house.save(disk)
    whole = 1 << 20
    house.window = Window(2, 2, portion=1 << 18, span=1 << 18, whole=whole)
    repository = house.open()
    for work in ("verify", "restore", "check_wanted"):
        with repository.session(PROJECT, label="read", reads=[wanted]) as session:
            target = MemoryDisk(disk.size)
            survey = session.survey(target, wanted, description=ABOUT, keep=False)
            store.asked = []
            if work == "verify":
                session.verify(wanted)
            elif work == "restore":
                session.restore(wanted, target)
            else:
                session.check_wanted(survey, target)
            assert max(store.asked) <= whole + (32 << 10)
            large = [length for length in store.asked if length > 64 << 10]
            assert len(large) <= 24 + 8, work
            assert len(store.asked) <= 24 + 8 + 20, work  # pages and headers are small


def test_as_much_memory_however_large_the_requests() -> None:
    """Threads become fewer as what each holds grows."""
    for whole in (1 << 18, 1 << 20, 1 << 22, 1 << 24):
        window = Window(restore_threads=32, portion=2 << 20, whole=whole)
        assert 1 <= window.whole_threads <= 32
        assert window.whole_threads * whole <= 64 << 20
    assert Window(restore_threads=3).whole_threads == 3
