"""Restores to test with: what a target held, what it is to hold, and a repository that has both."""

import random
from pathlib import Path

from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House
from tests.repository.sim_disk import PIECE, SimDisk

from restead.domain.ids import ManifestId
from restead.repository import Reads, Repository, Window


def some_bytes(luck: random.Random, size: int) -> bytearray:
    """Return data with stretches of zeroes."""
    data = bytearray(luck.randbytes(size))
    for _ in range(luck.randint(0, 4)):
        at = luck.randrange(size) if size else 0
        length = min(luck.choice([4096, 30_000, size]), size - at) if luck.random() < 0.8 else 0
        data[at : at + length] = bytes(length)
    return data


def changed(luck: random.Random, data: bytes, size: int) -> bytes:
    """Return what a target of *size* bytes may hold instead of *data*: a little or everything else."""
    if luck.random() < 0.2:
        return bytes(some_bytes(luck, size))
    other = bytearray(data[:size].ljust(size, b"\0"))
    for _ in range(luck.randint(0, 6)):
        if size:
            at = luck.randrange(size)
            length = min(luck.choice([1, 512, 4096, 9000, 40_000]), size - at)
            other[at : at + length] = luck.choice([luck.randbytes(length), bytes(length)])
    return bytes(other)


class Case:
    """A backup of *wanted*, and *before*, committed with pins as the safety manifest of a target that holds it."""

    def __init__(self, luck: random.Random, folder: Path, *, size: int, behind: int, chunk_size: int) -> None:
        self.window = Window(1, luck.choice([1, 1, 2]), portion=2 * chunk_size, unmarked=luck.choice([1, 4, 9]) * PIECE)
        house = House(folder, chunk_size=chunk_size)
        self.repository = Repository.open(
            house.store, house.key, cache=folder / "window", scratch=folder, window=self.window
        )
        data = bytes(some_bytes(luck, size))
        self.backup = house.save(MemoryDisk.of(data))
        self.wanted = data + bytes(behind)
        self.before = changed(luck, data, size + behind)
        with self.repository.session(PROJECT, label="restore", reads=[self.backup]) as session:
            target = SimDisk(self.before)
            survey = session.survey(target, self.backup, description=ABOUT)
            session.check_wanted(survey, target)
            self.safety: ManifestId = session.commit([survey], pins=[self.backup])[0]
            self.number = session.number

    def rejoined(self) -> Reads:
        return self.repository.rejoin(self.number)
