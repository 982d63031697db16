"""A house that can be rewound: one beginning for thousands of endings.

Putting a house together takes longer than the small restore that a test wants to see.  So it is put together once,
its whole state is saved, and each case begins from there.
"""

import shutil
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from tests.fakes.power import PoweredStore
from tests.house import SECRET, House

from restead.repository import Repository
from restead.repository import Window as RepositoryWindow
from restead.service import Service
from restead.workflows import Comparer, Engine, stories


@dataclass
class Saved:
    rows: sqlite3.Connection
    objects: dict[str, bytes]
    servers: dict[str, Any]
    disks: dict[str, tuple[bytes, set[int], list[tuple[int, int]]]]


class RewindingHouse(House):
    """Starts again over the same records, without migrating them."""

    _opened = 0

    def save(self) -> Saved:
        rows = sqlite3.connect(":memory:", check_same_thread=False)
        with sqlite3.connect(self.folder / "records.db") as file:
            file.backup(rows)
        disks = {id: (bytes(disk.now), set(disk.pages), list(disk.history)) for id, disk in self.cloud._disks.items()}
        return Saved(rows, dict(self.store._objects), dict(self.cloud._servers), disks)

    def rewind(self, saved: Saved) -> None:
        """Let everything be as it was when it was saved."""
        file = sqlite3.connect(self.folder / "records.db")
        saved.rows.backup(file)
        file.close()
        self.store._objects = dict(saved.objects)
        self.cloud._servers = dict(saved.servers)
        for id, (data, pages, history) in saved.disks.items():
            disk = self.cloud._disks[id]
            disk.now, disk.pages, disk.history = bytearray(data), set(pages), list(history)
            disk.lost_at_power_cut, disk.rotten, disk.readers, disk.writers = [], {}, 0, 0
        self.cloud.log.clear()
        self.cloud.space = None
        self.restart(new_cache=True)

    def crash_and_restart(self, seed: int | None = None) -> None:
        self.cloud.lose_unflushed(None if seed is None else Random(seed))
        self.restart()

    def restart(self, *, new_cache: bool = False) -> None:
        """Start again on what is there; without a crash of the records, whose own tests are elsewhere."""
        if new_cache:
            shutil.rmtree(self.folder / f"cache-{self._opened}", ignore_errors=True)
            self._opened += 1
        power = self.power
        power.cut_at, power.count, power.off, power.fault = None, 0, False, lambda what: None
        self.repository = Repository.open(
            PoweredStore(self.store, power), SECRET, cache=self.folder / f"cache-{self._opened}", scratch=self.folder,
            window=RepositoryWindow(backup_threads=1, restore_threads=2),
        )  # fmt: skip
        told = stories(self.records, self.repository, self.cloud, self.cloud, grace=timedelta(seconds=1),
                       look_every=timedelta(0))  # fmt: skip
        self.engine = Engine(self.records, told, workers=2, pauses=(0.001,))
        compare = Comparer(self.repository, self.cloud)
        self.service = Service(self.records, self.cloud, self.engine.submit, self._rules, compare)
        self.engine.take_up()
