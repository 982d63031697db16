"""A crash after any write, blanking, flush or mark, whatever of the unsynced pieces reached the medium: who goes on
from the last mark ends with the backup, who turns round ends with what was there before."""

import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.repository.restores import Case
from tests.repository.sim_disk import PIECE, SimDisk, differing_pieces

from restead.repository import Reads

STATES = int(os.environ.get("RESTEAD_FUZZ", "20000"))
FIRST = int(os.environ.get("RESTEAD_FUZZ_FIRST", "0"))
PORTIONS = 10
DRAWS = 3  # things that a crash in the first life may leave


@dataclass
class Crash:
    """What a crash left: the medium, and the last mark that was told of."""

    medium: bytes
    mark: int


@dataclass
class Life:
    """One process that works on the target until it ends or dies: all its crashes are collected."""

    luck: random.Random
    medium: bytes
    mark: int = 0
    draws: float = 0.3  # how many crashes are drawn for each operation
    crashes: list[Crash] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = SimDisk(self.medium, moved=self._moved)

    def marked(self, offset: int) -> None:
        assert offset > self.mark, f"mark {offset} after mark {self.mark}"
        self.mark = offset
        self._moved()

    def _moved(self) -> None:
        for _ in range(int(self.draws + self.luck.random())):
            mark = self.mark  # first: what another thread flushes meanwhile is on the medium, and not yet marked
            self.crashes.append(Crash(self.disk.crash(self.luck), mark))


class Survivor:
    """Recovers from crashes, some of them from crashes in the recovery too, and checks what stands there."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.luck = random.Random(seed)
        self.chunk_size = chunk_size = self.luck.choice([4096, 8192, 16384])
        size = self.luck.choice([0, 4096 * 15, 4096 * 24, 4096 * 40])
        self.case = Case(self.luck, folder, size=size or 100, behind=self.luck.choice([0, 0, 50_000]),
                         chunk_size=chunk_size)  # fmt: skip
        self.reads: Reads = self.case.rejoined()
        self.states = 0

    def run(self, most: int) -> None:
        first = Life(self.luck, self.case.before, draws=DRAWS)
        self._forward(first)
        for crash in self.luck.sample(first.crashes, min(len(first.crashes), most)):
            self._recover(crash, self._forward if self.luck.random() < 0.6 else self._back, begun=False)

    def _recover(self, crash: Crash, go: Callable[[Life], None], *, begun: bool) -> None:
        """*begun*: the way back has begun already, and the marks are its own."""
        self.states += 1
        back = go == self._back
        life = Life(self.luck, crash.medium, mark=0 if back and not begun else crash.mark)
        have, want = (self.case.wanted, self.case.before) if back else (self.case.before, self.case.wanted)
        needed = differing_pieces(crash.medium, want, PIECE if any(have) else self.chunk_size)
        go(life)
        assert sum(length for _, length in life.disk.written) <= needed, "more was written than differs"
        if life.crashes and self.luck.random() < 0.3:
            # On the way forward a crash may be followed by going on or by turning round; the way back never turns.
            then = self._back if back or self.luck.random() < 0.5 else self._forward
            self._recover(self.luck.choice(life.crashes), then, begun=back)

    def _forward(self, life: Life) -> None:
        self.reads.rewrite(self.case.safety, self.case.backup, life.disk, after=life.mark, on_mark=life.marked)
        self._check(life, self.case.wanted)

    def _back(self, life: Life) -> None:
        self.reads.rewrite(self.case.backup, self.case.safety, life.disk, after=life.mark, on_mark=life.marked)
        self._check(life, self.case.before)

    def _check(self, life: Life, expected: bytes) -> None:
        assert expected == life.disk.medium, "other bytes on the medium"
        assert life.disk.size == life.mark


@pytest.mark.timeout(0)
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_fuzz_every_crash_ends_with_all_of_the_new_or_all_of_the_old(portion: int) -> None:
    """STATES crash states in all; the seed of a failing restore is in the message."""
    states, seed = 0, FIRST + portion
    while states < STATES // PORTIONS:
        with tempfile.TemporaryDirectory(prefix="restead-crash-", dir="/dev/shm") as folder:
            survivor = Survivor(seed, Path(folder))
            try:
                survivor.run(400)
            except BaseException as error:
                error.add_note(f"restore of seed {seed}")
                raise
            states += max(survivor.states, 1)
        seed += PORTIONS
