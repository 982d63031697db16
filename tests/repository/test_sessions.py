"""Sessions: who may build on what, and what a commit promises."""

import random
import threading
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import NotFound, Unavailable
from restead.domain.ids import ManifestId, ProjectId
from restead.repository.log import Condemn

DATA = random.Random(21).randbytes(400_000)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_two_sessions_of_two_openings_at_the_same_time_both_come_back(house: House) -> None:
    """Both store the same new chunks at once, again and again; whoever is second may use either copy."""
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            repository = house.open()
            disk = MemoryDisk.of(DATA)
            parent: ManifestId | None = None
            for day in range(4):
                disk.write_at(day * 50_000, random.Random(day * 10 + seed // 2).randbytes(30_000))
                parent = house.save(disk, parent, repository=repository)
            target = MemoryDisk(disk.size)
            house.restore(parent, target, repository=house.open())
            assert disk.data == target.data
        except (Exception, AssertionError) as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_several_disks_of_one_session_are_committed_together(house: House) -> None:
    """Saved by several threads at once, with the same new chunks in all of them."""
    disks = [MemoryDisk.of(DATA[: 100_000 + n * 4096] + b"own" * n) for n in range(4)]
    with house.repository.session(PROJECT, label="many") as session:
        saved = [None] * len(disks)

        def save(n: int) -> None:
            saved[n] = session.save(disks[n], description=ABOUT, label=f"disk {n}")  # type: ignore[call-overload]

        threads = [threading.Thread(target=save, args=(n,)) for n in range(len(disks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = session.commit(saved)  # type: ignore[arg-type]
    assert len({id.partition(".")[0] for id in ids}) == 1
    assert [f"disk {n}" for n in range(4)] == [house.repository.manifest(id).label for id in ids]
    for id, disk in zip(ids, disks, strict=True):
        target = MemoryDisk(disk.size)
        house.restore(id, target, repository=house.open())
        assert disk.data == target.data


def test_a_session_that_could_not_save_a_disk_commits_nothing(house: House) -> None:
    """A name that the failed disk claimed may have been believed by another: nothing of the session counts."""
    good, bad = MemoryDisk.of(DATA), MemoryDisk.of(DATA[::-1])
    bad.fail_at = 300_000
    with house.repository.session(PROJECT, label="x") as session:
        saved = session.save(good, description=ABOUT)
        with pytest.raises(Unavailable, match="I/O error"):
            session.save(bad, description=ABOUT)
        with pytest.raises(Unavailable, match="did not finish saving"):
            session.commit([saved])
    assert house.repository.manifests(PROJECT) == []


def test_a_check_that_raises_ends_the_work(house: House) -> None:
    class LostLease(Exception):
        pass

    def check() -> None:
        raise LostLease

    backup = house.save(MemoryDisk.of(DATA))
    target = MemoryDisk(len(DATA))
    with pytest.raises(LostLease):
        house.restore(backup, target, check=check)
    assert target.writes == []
    with pytest.raises(LostLease), house.repository.session(PROJECT, label="x") as session:
        session.save(MemoryDisk.of(DATA), description=ABOUT, check=check)


def test_only_what_was_named_at_open_may_be_built_on_or_read(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    with house.repository.session(PROJECT, label="x") as session:
        with pytest.raises(ValueError, match="does not read manifest"):
            session.save(MemoryDisk.of(DATA), parent=backup, description=ABOUT)
        with pytest.raises(ValueError, match="does not read manifest"):
            session.restore(backup, MemoryDisk(len(DATA)))


def test_another_projects_manifest_is_not_there(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    with pytest.raises(NotFound, match=backup), house.repository.session(ProjectId("p2"), label="x", reads=[backup]):
        pass


def test_projects_share_no_stored_bytes(house: House) -> None:
    house.save(MemoryDisk.of(DATA))
    with house.repository.session(ProjectId("p2"), label="x") as session:
        assert len(DATA) == session.save(MemoryDisk.of(DATA), description=ABOUT).count.new


def test_a_deleted_manifest_cannot_be_read_by_a_new_session_but_by_one_that_is_open(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    with house.repository.session(PROJECT, label="x", reads=[backup]) as session:
        house.open().delete([backup])
        target = MemoryDisk(len(DATA))
        session.restore(backup, target)
        assert target.data == DATA
    with pytest.raises(NotFound), house.repository.session(PROJECT, label="y", reads=[backup]):
        pass
    with pytest.raises(NotFound):
        house.repository.manifest(backup)
    house.repository.delete([backup])


def test_a_session_that_was_ended_by_somebody_else_cannot_commit(house: House) -> None:
    with house.repository.session(PROJECT, label="slow") as session:
        saved = session.save(MemoryDisk.of(DATA), description=ABOUT)
        (found,) = house.open().sessions("slow")
        house.open().end(found.number)
        with pytest.raises(Unavailable, match="ended by somebody else"):
            session.commit([saved])
    assert house.repository.manifests(PROJECT) == []


def test_saved_disks_of_another_session_cannot_be_committed(house: House) -> None:
    with house.repository.session(PROJECT, label="one") as session:
        saved = session.save(MemoryDisk.of(DATA), description=ABOUT)
    with house.repository.session(PROJECT, label="two") as session, pytest.raises(ValueError, match="other sessions"):
        session.commit([saved])


def test_no_new_session_builds_on_a_condemned_pack(house: House) -> None:
    """What only condemned packs hold is stored again, also by whoever has it in the cache; reading goes on."""
    first, saved = house.saved(MemoryDisk.of(DATA))
    packs = [bytes.fromhex(name.rpartition("/")[2]) for name, _ in house.store.list("packs/")]
    house.repository.log.append(Condemn(packs))
    again = house.saved(MemoryDisk.of(DATA))[1]
    assert saved.count.new == again.count.new
    target = MemoryDisk(len(DATA))
    house.restore(first, target)
    assert target.data == DATA


def test_a_pack_that_goes_away_after_a_copy_is_not_missed(house: House) -> None:
    """A collection copied what is needed and removed the pack, after this reader had looked it up."""
    first = house.save(MemoryDisk.of(DATA))
    old = [name for name, _ in house.store.list("packs/")]
    house.repository.log.append(Condemn([bytes.fromhex(name.rpartition("/")[2]) for name in old]))
    late = house.open()
    with late.session(PROJECT, label="restore", reads=[first]) as session:
        house.saved(MemoryDisk.of(DATA))
        for name in old:
            house.store.delete(name)
        target = MemoryDisk(len(DATA))
        session.restore(first, target)
        assert target.data == DATA


def test_a_manifest_knows_its_disk(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA[:5001]))
    manifest = house.open().manifest(backup)
    assert (5001, ABOUT, PROJECT, backup) == (manifest.size, manifest.description, manifest.project, manifest.id)


def test_an_empty_disk_and_a_disk_of_zeroes_store_no_chunk(house: House) -> None:
    for size in (0, 1, 4096, 50_000_000):
        backup, saved = house.saved(MemoryDisk(size))
        assert (0, size) == (saved.count.new, saved.count.zero)
        target = MemoryDisk.of(b"\xff" * min(size, 10_000) + bytes(max(size - 10_000, 0)))
        house.restore(backup, target)
        assert bytes(size) == target.data
