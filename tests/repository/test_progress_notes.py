"""Long backups note how far they are: what a crash costs is what was done since the last note."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Unavailable
from restead.repository.pausing import Pauses

MIB = 1 << 20


class Killed(BaseException):
    pass


def every(units: int) -> Callable[[], bool]:
    asked, lock = [0], threading.Lock()

    def due() -> bool:
        with lock:
            asked[0] += 1
            return asked[0] % units == 0

    return due


def killed(house: House, data: MemoryDisk, units: int, due: Callable[[], bool]) -> None:
    """Back up until so many units were asked for, then die without a word."""
    left = [units]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    repository = house.open()
    repository.end = lambda number, unpin=False: None  # type: ignore[method-assign]
    with pytest.raises(Killed), repository.session(PROJECT, label="long") as session:
        session.save(data, description=ABOUT, check=check, due=due, label="vda")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_killed_backup_loses_no_more_than_an_interval_also_when_its_garbage_is_collected(
    tmp_path: Path, threads: int
) -> None:
    house = House(tmp_path, chunk_size=65536, threads=threads)
    data = MemoryDisk.of(random.Random(7).randbytes(40 * MIB), block=65536)
    killed(house, data, units=18, due=every(4))  # of 20 units of 2 MiB; noted after 4, 8, 12 and 16
    after = house.open()
    (dead,) = after.sessions("long")
    after.end(dead.number)
    collector = house.open()
    collector.collect(garbage=0.01)
    noted = after.partial("long")
    assert len(noted) == 1
    with after.session(PROJECT, label="long", reads=noted) as session:
        saved = session.save(data, description=ABOUT, label="vda")
        (manifest,) = session.commit([saved])
    twice = saved.count.new - 4 * MIB  # the end of the disk had never been stored
    assert twice <= (4 + threads) * 2 * MIB
    assert after.partial("long") == []
    collector.collect(garbage=0.0)
    target = MemoryDisk(data.size, block=65536)
    house.restore(manifest, target)
    assert target.data == data.data


def test_without_notes_all_of_it_would_be_lost(tmp_path: Path) -> None:
    """The test above can fail."""
    house = House(tmp_path, chunk_size=65536, threads=1)
    data = MemoryDisk.of(random.Random(7).randbytes(40 * MIB), block=65536)
    killed(house, data, units=18, due=lambda: False)
    after = house.open()
    (dead,) = after.sessions("long")
    after.end(dead.number)
    house.open().collect()
    with after.session(PROJECT, label="long") as session:
        assert session.save(data, description=ABOUT).count.new == 40 * MIB


def test_a_partial_manifest_is_the_disk_so_far_and_zeroes(tmp_path: Path) -> None:
    """Also of a disk of several levels, and with finished disks of the same session."""
    house = House(tmp_path, chunk_size=512, threads=1)
    source = random.Random(9)
    first, second = MemoryDisk.of(source.randbytes(9000)), MemoryDisk.of(source.randbytes(5 * MIB))
    repository = house.repository
    with repository.session(PROJECT, label="long") as session:
        session.save(first, description=ABOUT, label="vda")
        session.save(second, description=ABOUT, label="vdb", due=every(3))
        noted = [repository.log.refresh().partial[id] for id in repository.partial("long")]
    assert [entry.label for entry in noted] == ["vda", "vdb"]
    held = []
    for entry in noted:
        with repository.session(PROJECT, label="look", reads=[entry.id]) as session:
            target = MemoryDisk(session.manifests[entry.id].size)
            session.restore(entry.id, target)
            held.append(bytes(target.data))
    assert held[0] == first.data
    done = len(held[1].rstrip(b"\0"))
    assert 3 * MIB < done < 5 * MIB
    assert held[1][:done] == second.data[:done]


def test_a_session_that_was_ended_learns_it_when_it_notes(tmp_path: Path) -> None:
    house = House(tmp_path, threads=2)
    other = house.open()
    with house.repository.session(PROJECT, label="long") as session:
        other.end(session.number)
        with pytest.raises(Unavailable, match="was ended by somebody else"):
            session.save(MemoryDisk.of(b"data" * MIB), description=ABOUT, due=every(1))


def test_all_threads_stand_still_in_a_pause_and_go_on_after_it() -> None:
    moving, seen, lock = set[int](), list[int](), threading.Lock()
    pauses = Pauses(4, every(5), lambda: seen.append(len(moving)))

    def work(number: int) -> None:
        for _ in range(200):
            with lock:
                moving.add(number)
            with lock:
                moving.discard(number)
            pauses.come_by()
        pauses.leave(failed=False)

    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "a thread stands for ever"
    assert len(seen) > 10
    assert set(seen) == {0}
