"""What must happen before what, how often work asks whether it may go on, and proofs that do not trust the plan."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged
from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import Buffer
from restead.repository import Progress
from restead.repository.chunk import Names, Press
from restead.repository.crew import work_together
from restead.repository.index import Index
from restead.repository.lost import LostThings
from restead.repository.pack import PackReader, PackWriter, Shelf
from restead.repository.reader import Fetcher, Reader, Wanted
from restead.repository.restore import Restoring
from restead.repository.runs import Hint
from restead.repository.seal import Kind
from restead.repository.session import Room
from restead.repository.tree import Stretch, Tree

MEBIBYTE = 1 << 20


class NotingBlobs(MemoryBlobs):
    """Notes the order of puts."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []

    def put(self, name: str, data: Buffer | list[Buffer]) -> bool:  # type: ignore[override]
        stored = super().put(name, data)
        self.puts.append(name)
        return stored


def test_packs_come_before_their_index_and_all_of_it_before_the_commit(tmp_path: Path) -> None:
    store = NotingBlobs()
    house = House(tmp_path, store=store, threads=3)
    house.save(MemoryDisk.of(bytes(range(1, 251)) * 4000))
    rooms = [name.partition("/")[0] for name in store.puts]
    assert rooms[:3] == ["keyring", "keyring", "log"]  # a new project's keys are durable before anything names it
    assert rooms[3:] == [*["packs"] * rooms.count("packs"), "index", "log", "log"]


def test_every_pack_of_a_commit_is_in_the_index_before_it(tmp_path: Path) -> None:
    """Many packs, many threads: an entry never speaks of a pack that is not there yet."""
    store = NotingBlobs()
    house = House(tmp_path, store=store, threads=3)
    spoken: list[bool] = []
    add = Index.add

    def watched(index: Index, hints: list[Hint]) -> None:
        spoken.extend(f"packs/{index._shelf.tag}/{hint.place.pack.hex()}" in store.puts for hint in hints)
        add(index, hints)

    Index.add = watched  # type: ignore[assignment,method-assign]
    try:
        house.save(MemoryDisk.of(bytes(range(1, 251)) * 4000))
    finally:
        Index.add = add  # type: ignore[method-assign]
    assert len(spoken) > 100
    assert all(spoken)


@pytest.mark.parametrize("threads", [1, 3])
def test_work_asks_at_least_every_4_mebibytes_whether_it_may_go_on(tmp_path: Path, threads: int) -> None:
    """Saving, restoring data, and making 40 MiB zero."""
    house = House(tmp_path, chunk_size=65536, threads=threads)
    disk = MemoryDisk(60 * MEBIBYTE, block=65536)
    for at in range(0, 20 * MEBIBYTE, MEBIBYTE):
        disk.write_at(at, at.to_bytes(8, "big") * (MEBIBYTE // 8))
    asked: list[None] = []

    def check() -> None:
        asked.append(None)

    with house.repository.session(PROJECT, label="backup") as session:
        (backup,) = session.commit([session.save(disk, description=ABOUT, check=check)])
    assert len(asked) >= 20 // 4
    asked.clear()
    target = MemoryDisk(60 * MEBIBYTE, all_data=True)
    house.restore(backup, target, check=check)
    assert len(asked) >= 60 // 4
    assert max(length for _, length in target.writes + target.zeroed) <= 4 * MEBIBYTE


def test_every_piece_that_is_made_zero_is_asked_for(tmp_path: Path) -> None:
    """A takeover may have happened while the piece before was zeroed."""
    house = House(tmp_path, threads=1)
    backup = house.save(MemoryDisk(40 * MEBIBYTE))
    story: list[str] = []

    class Told(MemoryDisk):
        def zero_at(self, offset: int, length: int) -> None:
            story.append("zero")

    target = Told(40 * MEBIBYTE, all_data=True)
    house.restore(backup, target, check=lambda: story.append("asked"))
    assert story.count("zero") == 10
    assert "zero zero" not in " ".join(story)


def test_progress_ends_at_the_whole_disk_and_never_goes_back(tmp_path: Path) -> None:
    house = House(tmp_path, threads=1)
    disk = MemoryDisk.of(b"data" * 2_000_000)
    told: list[Progress] = []
    with house.repository.session(PROJECT, label="backup") as session:
        (backup,) = session.commit([session.save(disk, description=ABOUT, progress=told.append)])
    with house.repository.session(PROJECT, label="restore", reads=[backup]) as session:
        session.restore(backup, MemoryDisk(disk.size), progress=told.append)
    done = [one.done for one in told]
    half = done.index(disk.size) + 1
    assert done[:half] == sorted(done[:half])
    assert done[half:] == sorted(done[half:])
    assert (done[-1], told[-1].total) == (disk.size, disk.size)


def test_a_plan_that_leaves_something_out_cannot_end_as_success(tmp_path: Path) -> None:
    """The proof counts what was written; it does not trust the plan."""

    class Forgetful(Tree):
        def stretches(self) -> Iterator[Stretch]:
            return (stretch for stretch in super().stretches() if stretch.first != 1)

    house = House(tmp_path, chunk_size=512)
    disk = MemoryDisk.of(bytes(range(1, 256)) * 6000)
    manifest = house.repository.manifest(house.save(disk))
    room: Room = house.repository._room(PROJECT)
    room.index.refresh()
    target = MemoryDisk(disk.size)
    work = Restoring(room.reader, manifest.root, target, 2, lambda progress: None, lambda: None, False)
    with pytest.raises(Damaged, match="not complete"):
        work.run(manifest.root_name, Forgetful(manifest.root, room.tree(manifest.root)._read))


def test_bytes_that_were_sealed_under_a_wrong_name_are_refused(tmp_path: Path) -> None:
    """Whoever holds the key can seal anything: the name decides."""
    store = MemoryBlobs()
    house = House(tmp_path, store=store)
    keys = house.repository.keyring.project(PROJECT)
    names = Names(keys.name_key)
    shelf = Shelf(store, keys, house.repository.keyring.repository_id, names.tag)
    index = Index(shelf, tmp_path / "index")
    writer = PackWriter(shelf, tmp_path, Press())
    right, wrong = b"right" * 100, b"wrong" * 100
    writer.add(Kind.CHUNK, names.chunk(right), wrong)
    stored = writer.finish()
    index.add([Hint(*one) for one in stored])
    fetcher = Fetcher(Reader(PackReader(shelf), index, names, LostThings(tmp_path)), 4096)
    with pytest.raises(Damaged, match="other bytes than its name says") as caught:
        fetcher.fetch([Wanted(names.chunk(right), 8192, memoryview(bytearray(500)))])
    assert caught.value.ranges == ((8192, 500),)
    assert shelf.object_name(stored[0][1].pack) in caught.value.message


def test_the_first_failure_ends_the_crew_and_is_what_the_caller_sees() -> None:
    seen: list[int] = []

    def work(number: int, items: Iterator[int]) -> None:
        for item in items:
            seen.append(item)
            if item == 5:
                raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        work_together(3, iter(range(1_000_000)), work)
    assert len(seen) < 1_000_000


def test_the_first_failure_is_the_first_in_time() -> None:
    """Not that of the thread with the lowest number, which may fail because of it."""
    begun, failing = threading.Barrier(2), threading.Event()

    def work(number: int, items: Iterator[int]) -> None:
        next(iter(items))
        begun.wait(10)
        if number == 1:
            failing.set()
            raise KeyboardInterrupt("the cause")
        assert failing.wait(10)
        for _ in items:  # until the other has stopped it
            pass
        raise KeyboardInterrupt("what follows from it")

    with pytest.raises(KeyboardInterrupt, match="the cause"):
        work_together(2, iter(range(100_000_000)), work)


def test_everybody_in_the_crew_draws_different_items() -> None:
    lock, seen = threading.Lock(), []

    def work(number: int, items: Iterator[int]) -> int:
        drawn = list(items)
        with lock:
            seen.extend(drawn)
        return len(drawn)

    counts = work_together(4, iter(range(10_000)), work)
    assert (sum(counts), sorted(seen)) == (10_000, list(range(10_000)))
