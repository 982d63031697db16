"""What is lost can be given up: the rest is restored and proven, and put back again; nothing else slips through."""

import os
import random
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.harm import flip, some_things, spoil, things
from tests.repository.house import ABOUT, PROJECT, House
from tests.repository.restores import changed, some_bytes

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId
from restead.repository import Held, Holed, Reads, Session, Survey
from restead.repository.ranges import Range, joined, total
from restead.repository.seal import Kind

CASES = int(os.environ.get("RESTEAD_FUZZ", "120"))
CHUNK = 512


def salvaged(session: Session, backup: ManifestId, target: MemoryDisk) -> tuple[Survey, Holed]:
    """Survey, find out what is lost, and survey again, now that it is known what cannot be counted on."""
    survey, want = looked_at(session, backup, target)
    try:
        session.check_kept(survey, want, target)
    except Damaged:
        pass
    return looked_at(session, backup, target)


def looked_at(session: Session, backup: ManifestId, target: MemoryDisk) -> tuple[Survey, Holed]:
    survey = session.survey(target, backup, description=ABOUT)
    try:
        session.check_wanted(survey, target, unpack=True)
    except Damaged as error:
        return survey, Holed(backup, error.ranges)
    return survey, Holed(backup, ())


def with_zeroes(data: bytes, lost: tuple[Range, ...]) -> bytes:
    found = bytearray(data)
    for offset, length in lost:
        assert offset + length <= len(data)
        found[offset : offset + length] = bytes(length)
    return bytes(found)


@pytest.mark.parametrize("part", range(4))
def test_everything_but_what_is_lost_comes_back_and_goes_back(part: int, tmp_path: Path) -> None:
    """Random disks of one to three levels of pages, random damage of chunks and pages: forward, read again, back."""
    for case in range(part, CASES, 4):
        luck = random.Random(case)
        folder = tmp_path / str(case)
        folder.mkdir()
        house = House(folder, chunk_size=CHUNK, threads=luck.choice([1, 2]))
        size = luck.choice([3_000, 40_000, 700_000]) + luck.randrange(2000)
        data, behind = bytes(some_bytes(luck, size)), luck.choice([0, 0, 5000])
        backup = house.save(MemoryDisk.of(data))
        before = changed(luck, data, size + behind)
        names = some_things(house.repository, backup, luck, chunks=luck.randint(0, 6), pages=luck.randint(0, 2))
        spoil(house.repository, house.store, names)
        target = MemoryDisk.of(before)
        with house.open().session(PROJECT, label="restore", reads=[backup]) as session:
            survey, want = salvaged(session, backup, target)
            if not want.lost:
                session.rewrite(survey, backup, target, expect=True)
                assert data + bytes(behind) == target.data, case
                continue
            wanted = with_zeroes(data, want.lost) + bytes(behind)
            assert list(want.lost) == joined(want.lost), case
            count = session.check_wanted(survey, target, lost=want.lost, compare=True)
            session.reserve(survey, want, target)
            done = session.rewrite(survey, want, target, expect=True)
            assert wanted == target.data, case
            assert (count.written, count.zero) == (done.count.written, done.count.zero), case
            session.reread(want, target)
            session.release(survey, want, target)
            assert wanted == target.data, case
            session.rewrite(want, survey, target)
            assert before == target.data, case


def one_lost_chunk(tmp_path: Path) -> tuple[House, ManifestId, bytes]:
    house = House(tmp_path, chunk_size=CHUNK)
    data = random.Random(3).randbytes(20_000)
    backup = house.save(MemoryDisk.of(data))
    (pack, thing), *_ = [each for each in things(house.repository) if each[1].kind is Kind.CHUNK]
    flip(house.store, pack, thing.offset + 1)
    return house, backup, data


def test_a_hole_that_is_not_listed_cannot_be_proven(tmp_path: Path) -> None:
    """Whatever else is left out, the root's name is another: here a chunk that is whole is claimed to be another's."""
    house, backup, _ = one_lost_chunk(tmp_path)
    target = MemoryDisk(20_000)
    with house.open().session(PROJECT, label="restore", reads=[backup]) as session:
        survey, want = salvaged(session, backup, target)
        ((offset, length),) = want.lost
        with pytest.raises(Damaged):
            session.rewrite(survey, Holed(backup, ((offset + 2 * CHUNK, length),)), target, expect=True)


def test_damage_that_comes_later_is_no_hole(tmp_path: Path) -> None:
    """What was not lost when it was decided is not given up when it is lost now; the target can be put back."""
    house, backup, _ = one_lost_chunk(tmp_path)
    before = random.Random(4).randbytes(20_000)
    target = MemoryDisk.of(before)
    stored = [each for each in things(house.repository) if each[1].kind is Kind.CHUNK]
    with house.open().session(PROJECT, label="restore", reads=[backup]) as session:
        survey, want = salvaged(session, backup, target)
        for pack, thing in stored[8:12]:
            flip(house.store, pack, thing.offset + 1)
        with pytest.raises(Damaged):
            session.rewrite(survey, want, target, expect=True)
        session.rewrite(want, survey, target)
    assert before == target.data


def test_what_the_target_holds_is_not_given_up(tmp_path: Path) -> None:
    """Bytes that are lost in the repository and right on the target stay, and are stored again by the survey."""
    house, backup, data = one_lost_chunk(tmp_path)
    target = MemoryDisk.of(data[:10_000] + bytes(10_000))
    with house.open().session(PROJECT, label="restore", reads=[backup]) as session:
        survey, want = salvaged(session, backup, target)
        assert want.lost == ()
        session.rewrite(survey, backup, target, expect=True)
    assert data == target.data


def test_a_lost_page_of_what_stood_there_does_not_hinder_putting_back(tmp_path: Path) -> None:
    """Only what is to be there is needed: where the other side cannot be told any more all is compared and written."""
    house = House(tmp_path, chunk_size=CHUNK)
    luck = random.Random(5)
    data, before = luck.randbytes(700_000), luck.randbytes(700_000)
    backup, safety = house.save(MemoryDisk.of(data)), house.save(MemoryDisk.of(before))
    target = MemoryDisk.of(data)
    root = house.repository.manifest(backup).root
    pages = {thing.name for _, thing in things(house.repository) if thing.kind is Kind.PAGE}
    tree = house.repository._room(PROJECT).tree(root)
    spoil(house.repository, house.store, {name for name in pages if name == tree.name_at(0, 1)})
    with house.open().session(PROJECT, label="restore", reads=[backup, safety]) as session:
        session.rewrite(backup, safety, target)
    assert before == target.data


def read_all(reads: Reads, held: Held, size: int) -> bytes:
    target = MemoryDisk(size)
    assert not isinstance(held, Holed | Survey)
    reads.restore(held, target)
    return target.data


@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.PAGE])
def test_a_later_backup_heals_what_is_lost(kind: Kind, tmp_path: Path) -> None:
    """After a reader has found the damage; with the damaged backup as the parent, and without one."""
    for with_parent in (True, False):
        folder = tmp_path / str(with_parent)
        folder.mkdir()
        house = House(folder, chunk_size=CHUNK)
        data = random.Random(7).randbytes(700_000)
        backup = house.save(MemoryDisk.of(data))
        top = house.repository.manifest(backup).root.top
        lost = [t.name for _, t in things(house.repository) if t.kind is kind and t.name != top][:2]
        spoil(house.repository, house.store, set(lost))
        repository = house.open()
        with pytest.raises(Damaged), repository.session(PROJECT, label="verify", reads=[backup]) as session:
            session.verify(backup)
        again = house.open(fresh_cache=False)
        _, saved = house.saved(MemoryDisk.of(data), backup if with_parent else None, repository=again)
        assert saved.count.new == (len(lost) * CHUNK if kind is Kind.CHUNK else 0)
        with house.open().session(PROJECT, label="restore", reads=[backup]) as reads:
            assert data == read_all(reads, backup, len(data))
        _, third = house.saved(MemoryDisk.of(data), backup, repository=house.open(fresh_cache=False))
        assert third.count.new == 0, "what was healed is stored once"


def test_damage_found_by_one_reader_is_known_to_the_next_session(tmp_path: Path) -> None:
    """A machine that lost its cache stores nothing again, and does no harm; it heals once it knows."""
    house, backup, data = one_lost_chunk(tmp_path)
    _, saved = house.saved(MemoryDisk.of(data), backup, repository=house.open())
    assert saved.count.new == 0


def test_another_intact_copy_is_used(tmp_path: Path) -> None:
    """Two writers that did not know of each other stored everything twice: any one copy of each chunk is enough."""
    house = House(tmp_path, chunk_size=CHUNK, threads=1)
    data = random.Random(8).randbytes(60_000)
    one, two = house.open(), house.open()
    with one.session(PROJECT, label="a") as first, two.session(PROJECT, label="b") as second:
        saved = [each.save(MemoryDisk.of(data), description=ABOUT) for each in (first, second)]
        backup, _ = first.commit(saved[:1])[0], second.commit(saved[1:])[0]
    seen: set[bytes] = set()
    luck = random.Random(9)
    copies = [each for each in things(house.repository) if each[1].kind in (Kind.CHUNK, Kind.PAGE)]
    luck.shuffle(copies)
    for pack, thing in copies:
        if thing.name not in seen:
            seen.add(thing.name)
            flip(house.store, pack, thing.offset + 5)
    target = MemoryDisk(len(data))
    house.restore(backup, target, repository=house.open())
    assert data == target.data


def test_ranges_are_joined() -> None:
    assert joined([(8, 4), (0, 4), (4, 4), (20, 2), (21, 5)]) == [(0, 12), (20, 6)]
    assert total([(0, 12), (20, 6)]) == 18
    assert joined([]) == []
