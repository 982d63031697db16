"""The whole house in one process: a cloud and a store in memory, real records, repository, engine and service.

    house = House(folder)
    server = house.server([64 * 1024, 32 * 1024])
    backup = house.protect(server)
    house.cloud.fill(server.volumes[0].id, b"damage")
    restore = house.restore(backup)

Runs are told in the calling thread (`drain`), so that a test meets what is raised; `start` gives the house threads.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from tests.fakes.cloud import MemoryCloud
from tests.fakes.power import Power, PoweredStore

from restead.domain.backup import Backup, BackupRequest
from restead.domain.caller import Caller, Role
from restead.domain.ids import BackupId, ProjectId, RestoreId
from restead.domain.listing import BackupFilter, Window
from restead.domain.restore import Mapping, Restore, RestoreRequest
from restead.domain.server import Server
from restead.domain.states import BackupState, RestoreState
from restead.drivers.blobs.memory import MemoryBlobs
from restead.records import Records, Tokens, events
from restead.records.tables import metadata
from restead.repository import KeyFile, Repository
from restead.repository import Window as RepositoryWindow
from restead.service import Rules, Service
from restead.workflows import Comparer, CopyKeeper, Engine, SafetyRetention, stories
from restead.workflows.holding import hold

PROJECT = ProjectId("p1")
SECRET = KeyFile(bytes(range(32)))


class House:
    """Everything put together.  *folder* holds the cache and, if no *database* is given, the records."""

    def __init__(
        self, folder: Path, *, chunk_size: int = 4096, rules: Rules | None = None, cloud: MemoryCloud | None = None,
        database: str | None = None,
        progress_every: timedelta = timedelta(minutes=5),
        nice: int = 0,
    ) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder}/records.db"
        self.store = MemoryBlobs()
        self.cloud = cloud or MemoryCloud()
        self.caller = Caller("u1", PROJECT, frozenset({Role.MEMBER}))
        self.admin = Caller("root", ProjectId("admin"), frozenset({Role.ADMIN}))
        self.reader = Caller("r1", PROJECT, frozenset({Role.READER}))
        self.server_definitions: list[dict[str, object]] = []  # what a driver would keep
        self.untouched: dict[str, object] = {}  # a dump, for tests that something has not changed
        self._rules = rules
        self._progress_every = progress_every
        self._nice = nice
        Repository.create(self.store, SECRET, chunk_size=chunk_size)
        self.power = Power()
        self.open()

    def open(self, power: Power | None = None) -> None:
        """Put the house together over what is stored, as a start of the service does, on this power."""
        self.power = power or Power()
        self.cloud.before = self._cloud_needs_power
        self.records = Records.open(self.database)
        self.records.migrate()
        self.tokens = Tokens(self.records)
        self.repository = Repository.open(
            PoweredStore(self.store, self.power), SECRET, cache=self.folder / "cache", scratch=self.folder,
            window=RepositoryWindow(backup_threads=2, restore_threads=2),
        )  # fmt: skip
        self.engine = Engine(
            self.records,
            stories(self.records, self.repository, self.cloud, self.cloud, grace=timedelta(seconds=1),
                    progress_every=self._progress_every, nice=self._nice),
            workers=2,
            pauses=(0.01, 0.02),
        )
        compare = Comparer(self.repository, self.cloud)
        self.service = Service(self.records, self.cloud, self.engine.submit, self._rules, compare,
                               partial(hold, self.repository))  # fmt: skip
        self.copies = CopyKeeper(self.records, self.repository, lambda: self.server_definitions)
        self.engine.do_regularly(SafetyRetention(self.records, self.engine.submit, timedelta(days=7)))
        self.engine.take_up()
        self.power.feed(self.records.engine)

    def close(self) -> None:
        self.engine.stop(timedelta(seconds=10))
        self.records.close()

    def cut_power_at(self, count: int) -> None:
        """Cut the power at the *count*-th thing that matters from now on."""
        self.power.cut_at = self.power.count + count

    def crash_and_restart(self, seed: int | None = None) -> None:
        """Lose what no disk had flushed (with *seed*: some of it), and start again on what is durable."""
        self.records.close()
        self.cloud.lose_unflushed(None if seed is None else random.Random(seed))
        self.open()

    # ------------------------------------------------------------------ what callers do

    def server(self, sizes: Sequence[int] = (64 * 1024, 32 * 1024), name: str = "web-1", seed: int = 1) -> Server:
        """Make a server whose disks hold random bytes with zeroes in between."""
        server = self.cloud.add(PROJECT, sizes, name)
        self.scribble(server, seed)
        return server

    def scribble(self, server: Server, seed: int) -> None:
        """Put other bytes on all disks of the server: runs of random bytes, of zeroes, and of what was there."""
        chance = random.Random(seed)
        for volume in server.volumes:
            at = 0
            while at < volume.size:
                length = min(chance.choice((512, 4096, 8192, 12000)), volume.size - at)
                if (kind := chance.random()) < 0.75:
                    self.cloud.fill(volume.id, chance.randbytes(length) if kind < 0.5 else bytes(length), at)
                at += length

    def disks(self, server: Server) -> list[bytes]:
        return [self.cloud.bytes_of(volume.id) for volume in server.volumes]

    def protect(self, server: Server, *, wait: bool = True, **request: object) -> Backup:
        """Ask for a backup; wait for its end, unless told not to."""
        wanted = BackupRequest(server.id, **request)  # type: ignore[arg-type]
        checkpoint = self.service.checkpoints.protect(self.caller, server.project_id, wanted)
        if wait:
            self.drain()
        page = self.service.backups.list(
            self.caller, server.project_id, BackupFilter(checkpoint_id=checkpoint.id), Window()
        )
        return page.items[0]

    def restore(
        self,
        backup: Backup,
        onto: Server | None = None,
        *,
        power_on: bool = False,
        wait: bool = True,
        **extensions: bool | str,
    ) -> Restore:
        """Ask for a restore, disk by disk onto the same server or another; wait for its end, unless told not to.

        *extensions*: as in a request, such as safety=False.
        """
        request = replace(self.request(backup, onto, power_on=power_on), extensions=tuple(extensions.items()))
        restore = self.service.restores.create(self.caller, backup.project_id, request)
        if wait:
            self.drain()
        return self.service.restores.restore(self.caller, backup.project_id, restore.id)

    def undo(self, restore: Restore, *, power_on: bool = False, wait: bool = True) -> Restore:
        """Ask for what the restore has overwritten to be brought back."""
        undoing = self.service.restores.undo(self.caller, restore.project_id, restore.id, power_on)
        if wait:
            self.drain()
        return self.service.restores.restore(self.caller, restore.project_id, undoing.id)

    def request(self, backup: Backup, onto: Server | None = None, *, power_on: bool = False) -> RestoreRequest:
        server = onto or backup.server
        mappings = tuple(
            Mapping(source.id, target.id) for source, target in zip(backup.volumes, server.volumes, strict=False)
        )
        return RestoreRequest(backup.checkpoint_id, backup.id, server.id, mappings, power_on=power_on)

    def all_backups(self) -> tuple[Backup, ...]:
        return self.service.backups.list(self.caller, PROJECT, BackupFilter(), Window()).items

    def backup(self, id: BackupId) -> Backup:
        return self.service.backups.backup(self.caller, PROJECT, id)

    def story(self, run_id: str) -> list[str]:
        """Return the kinds of events that a run has told."""
        with self.records.read() as tx:
            return [event.kind.value for event in events.story(tx, run_id)]  # type: ignore[arg-type]

    # ------------------------------------------------------------------ running

    def start(self) -> None:
        """Give the house threads of its own."""
        self.engine.start()

    def drain(self) -> None:
        """Tell all runs that wait, here and now; or let the threads do it, if there are any."""
        if self.engine.running:
            self.wait(lambda: not self.busy())
        else:
            while self.engine.run_next():
                pass

    def busy(self) -> bool:
        backups = self.service.backups.list(self.admin, PROJECT, BackupFilter(), Window(all_projects=True)).items
        return any(backup.state not in (BackupState.AVAILABLE, BackupState.ERROR) for backup in backups)

    def wait(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"still waiting after {seconds} s"
            time.sleep(0.01)

    def wait_for(self, id: RestoreId) -> Restore:
        """Wait until a restore has ended."""

        def restore() -> Restore:
            return self.service.restores.restore(self.caller, PROJECT, id)

        self.wait(lambda: restore().state is not RestoreState.IN_PROGRESS)
        return restore()

    def dump(self) -> dict[str, object]:
        """Return all rows, all stored names and all disks: to see that nothing has changed."""
        with self.records.read() as tx:
            rows: dict[str, object] = {
                table.name: [tuple(row) for row in tx.connection.execute(sa.select(table))]
                for table in metadata.sorted_tables
            }
        servers = self.cloud.servers(PROJECT)
        disks = {volume.id: self.cloud.bytes_of(volume.id) for server in servers for volume in server.volumes}
        return {**rows, "store": sorted(self.store.list("")), "servers": servers, "disks": disks}

    def _cloud_needs_power(self, operation: str) -> None:
        if operation in ("write", "zero", "flush", "start", "stop"):
            self.power.tick(f"cloud: {operation}")
        else:
            self.power.look(f"cloud: {operation}")
