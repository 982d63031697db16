"""Property 4: the power may go at any write, fsync, link or delete; what was committed is complete."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.drivers.crash_disk import CrashDisk, PowerCut
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.ids import ManifestId
from restead.drivers.blobs.local import LocalBlobs
from restead.repository import DiskDescription, KeyFile, Repository, Window

KEY = KeyFile(bytes(range(32)))
ONE = Window(1, 1)


class DyingDisk(CrashDisk):
    """After the cut nothing works any more."""

    def _tick(self) -> None:
        self.count += 1
        if self._cut_at and self.count >= self._cut_at:
            raise PowerCut


def days() -> tuple[bytes, bytes]:
    source = random.Random(11)
    first = source.randbytes(20_000) + bytes(30_000) + b"text" * 5000
    return first, first[:9000] + source.randbytes(6000) + first[15_000:30_000] + b"more" * 3000


def two_backups(root: Path, calls: CrashDisk, done: list[tuple[ManifestId, bytes]]) -> None:
    """Back up a disk, change it, back it up again, delete the first; note in *done* what was answered."""
    (root.parent / "scratch").mkdir(exist_ok=True)
    store = LocalBlobs(root, calls=calls)
    Repository.create(store, KEY, chunk_size=4096)
    repository = Repository.open(store, KEY, cache=root.parent / "cache", scratch=root.parent / "scratch", window=ONE)
    parent: ManifestId | None = None
    for data in days():
        with repository.session(PROJECT, label="backup", reads=[parent] if parent else []) as session:
            saved = session.save(MemoryDisk.of(data), parent=parent, description=ABOUT)
            (parent,) = session.commit([saved])
            done.append((parent, data))
    repository.delete([done[0][0]])


def calls_of_a_whole_run(folder: Path) -> int:
    root = folder / "store"
    root.mkdir(parents=True)
    calls = DyingDisk(root)
    two_backups(root, calls, [])
    calls.close_all()
    return calls.count


KEEPS: dict[str, Callable[[int], Callable[[Path], bool]]] = {
    "nothing unsynced survives": lambda cut: lambda path: False,
    "everything unsynced survives": lambda cut: lambda path: True,
    "some of it survives": lambda cut: lambda path: random.Random(f"{cut}{path.name}").random() < 0.5,
}


@pytest.mark.parametrize("keep", KEEPS)
def test_whatever_was_committed_is_whole_after_a_power_cut_at_any_call(tmp_path: Path, keep: str) -> None:
    """Every restart opens without repair, restores everything the log knows, and can back up again."""
    total = calls_of_a_whole_run(tmp_path / "whole")
    assert total > 40
    for cut in range(1, total + 1):
        folder = tmp_path / f"cut-{cut}"
        root, after = folder / "store", folder / "after"
        root.mkdir(parents=True)
        after.mkdir()
        calls = DyingDisk(root, cut_at=cut)
        done: list[tuple[ManifestId, bytes]] = []
        with pytest.raises(PowerCut):
            two_backups(root, calls, done)
        calls.left_behind(after, KEEPS[keep](cut))
        calls.close_all()
        check_restart(after, folder, done, f"cut at call {cut}")


def check_restart(root: Path, folder: Path, done: list[tuple[ManifestId, bytes]], when: str) -> None:
    store = LocalBlobs(root)
    if not any(store.list("keyring/")):
        assert done == [], when
        return
    repository = Repository.open(store, KEY, cache=folder / "cache-2", scratch=folder, window=ONE)
    known = repository.manifests(PROJECT)
    assert {id for id, _ in done[1:]} <= {entry.id for entry in known}, when  # the first may be deleted again
    for entry in known:
        wanted = days()[0] if entry.id == "2.0" else days()[1]  # entry 1 opened, entry 2 committed the first
        target = MemoryDisk.of(b"\xff" * 100_000)
        with repository.session(PROJECT, label="restore", reads=[entry.id]) as session:
            session.restore(entry.id, target)
        assert wanted + bytes(100_000 - len(wanted)) == target.data, f"{when}: manifest {entry.id}"
    with repository.session(PROJECT, label="again", reads=[entry.id for entry in known[:1]]) as session:
        parent = known[0].id if known else None
        saved = session.save(MemoryDisk.of(days()[1]), parent=parent, description=ABOUT)
        (again,) = session.commit([saved])
    target = MemoryDisk(len(days()[1]))
    with repository.session(PROJECT, label="restore", reads=[again]) as session:
        session.restore(again, target)
    assert days()[1] == target.data, f"{when}: backed up again"


class CutTarget(MemoryDisk):
    """A target whose power goes before call number *cut_at*."""

    cut_at = 0
    count = 0

    def _tick(self) -> None:
        self.count += 1
        if self.cut_at and self.count >= self.cut_at:
            raise PowerCut

    def write_at(self, offset, data):  # type: ignore[no-untyped-def]
        self._tick()
        super().write_at(offset, data)

    def zero_at(self, offset, length):  # type: ignore[no-untyped-def]
        self._tick()
        super().zero_at(offset, length)

    def flush(self) -> None:
        self._tick()
        super().flush()


def test_a_restore_that_was_cut_at_any_write_is_right_when_it_is_done_again(tmp_path: Path) -> None:
    house = House(tmp_path, threads=2)
    backup = house.save(MemoryDisk.of(days()[0]))
    cut = 0
    while True:
        cut += 1
        target = CutTarget(90_000)
        target.write_at(0, b"\xee" * 90_000)
        target.count, target.cut_at = 0, cut
        try:
            house.restore(backup, target)
        except PowerCut:
            target.cut_at = 0
            house.restore(backup, target)
            assert days()[0] + bytes(90_000 - len(days()[0])) == target.data
        else:
            break
    assert cut > 4


def test_a_session_of_a_dead_process_is_found_by_its_label_and_ended(tmp_path: Path) -> None:
    """Its manifests, if it committed, are found too; ending it again changes nothing."""
    house = House(tmp_path)
    about = DiskDescription("system", ABOUT.taken_at, "offline")

    class Died(BaseException):
        pass

    def die_at(step: str) -> None:
        with house.repository.session(PROJECT, label=f"run-{step}") as session:
            saved = session.save(MemoryDisk.of(b"data"), description=about)
            if step == "committed":
                session.commit([saved])
            house.repository.end = lambda number: None  # type: ignore[method-assign]
            raise Died

    for step in ("saved", "committed"):
        with pytest.raises(Died):
            die_at(step)
        after = house.open()
        (found,) = after.sessions(f"run-{step}")
        assert (step == "committed") == bool(found.manifests)
        assert (step == "saved") == found.open
        after.end(found.number)
        after.end(found.number)
        assert not any(one.open for one in after.sessions(f"run-{step}"))
        del house.repository.end
