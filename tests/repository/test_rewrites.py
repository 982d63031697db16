"""Restores over targets that hold something: what is right is left alone, what differs is written, and is undone."""

import random
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House
from tests.repository.restores import changed, some_bytes
from tests.repository.sim_disk import PIECE, SimDisk, differing_pieces

from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ManifestId
from restead.repository import Hint

CHUNK = 16384
DATA = random.Random(31).randbytes(20 * CHUNK)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, chunk_size=CHUNK)


def test_only_the_pieces_that_differ_are_fetched_for_and_written(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    other = bytearray(DATA)
    other[3 * CHUNK + 5000] ^= 1
    other[7 * CHUNK : 7 * CHUNK + 2 * PIECE] = bytes(2 * PIECE)
    target = SimDisk(bytes(other))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        count = session.rewrite(survey, backup, target, expect=True).count
    assert target.medium == DATA
    assert sorted(target.written) == [(3 * CHUNK + PIECE, PIECE), (7 * CHUNK, 2 * PIECE)]
    assert (count.read, count.written, count.zero) == (2 * CHUNK, 3 * PIECE, 0)
    assert len(DATA) == count.kept + count.written
    assert (survey.kept, survey.to_write, survey.to_zero) == (18 * CHUNK, 2 * CHUNK, 0)


def test_nothing_is_fetched_stored_or_written_where_all_is_right(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    packs = set(house.store.list("packs/"))
    target = SimDisk(DATA + bytes(5 * CHUNK))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT, keep=False)
        count = session.rewrite(survey, backup, target, expect=True).count
    assert ([], 0, len(DATA) + 5 * CHUNK) == (target.written, count.read, count.kept)
    assert packs == set(house.store.list("packs/"))


def test_random_targets_become_the_backup_and_what_they_were_again(tmp_path: Path) -> None:
    """Forward, back, forward, by this process and by one that rejoins; the numbers said before are those done."""
    for seed in range(150):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            forth_and_back(random.Random(seed), folder)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def forth_and_back(luck: random.Random, folder: Path) -> None:
    house = House(folder, chunk_size=luck.choice([512, 4096, 8192, 65536]), threads=luck.choice([1, 2, 3]))
    data = bytes(some_bytes(luck, luck.choice([0, 1, 5000, 40_960, 300_000, 700_000])))
    backup = house.save(MemoryDisk.of(data))
    wanted = data + bytes(luck.choice([0, 0, 1, 4096, 100_000]))
    before = changed(luck, data, len(wanted))
    then, hint = since(luck, house, before) if luck.random() < 0.4 else (None, None)
    target = MemoryDisk.of(before, all_data=luck.random() < 0.3)
    keep = luck.random() < 0.7
    with house.repository.session(PROJECT, label="r", reads=[backup, *([then] if then else [])]) as session:
        survey = session.survey(target, backup, description=ABOUT, keep=keep, hint=hint)
        told = session.check_wanted(survey, target, compare=True)
        assert before == target.data
        safety = session.commit([survey], pins=[backup])[0] if keep else None
        target.writes.clear()
        done = session.rewrite(survey, backup, target, expect=True)
        assert wanted == target.data
        assert done.proven
        assert (told.read, told.written, told.zero, told.kept) == (
            done.count.read, done.count.written, done.count.zero, done.count.kept)  # fmt: skip
        written = sum(length for _, length in target.writes + target.blanked)
        step = min(PIECE, house.repository.chunk_size) if any(before) else house.repository.chunk_size
        assert differing_pieces(before, wanted, step) == written
        session.reread(backup, target)
    if safety is None:
        return
    repository = house.open()
    again = repository.rejoin(session.number)
    assert not again.rewrite(backup, safety, target).proven
    again.reread(safety, target)
    assert before == target.data
    again.rewrite(safety, backup, target)
    assert wanted == target.data
    repository.end(session.number, unpin=True)
    house.restore(safety, target)
    assert before == target.data
    with pytest.raises(NotFound):
        repository.rejoin(session.number)


def since(luck: random.Random, house: House, before: bytes) -> tuple[ManifestId, Hint]:
    """Back up what a disk held some time earlier; return that, and where it has changed since."""
    earlier = bytearray(before)
    places: list[tuple[int, int]] = []
    for _ in range(luck.randint(0, 4) if before else 0):
        offset = luck.randrange(len(before))
        length = min(luck.choice([1, 5000, 70_000]), len(before) - offset)
        earlier[offset : offset + length] = luck.choice([luck.randbytes(length), bytes(length)])
        places.append((offset, length))
    then = house.save(MemoryDisk.of(bytes(earlier)))
    return then, Hint(then, places, guaranteed=True)


def test_what_somebody_else_wrote_after_the_survey_is_found_and_named(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    target = SimDisk(DATA[: 4 * CHUNK] + bytes(16 * CHUNK))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        target.write_at(9 * CHUNK + 100, b"mounted")
        with pytest.raises(Damaged, match="somebody else has written") as found:
            session.rewrite(survey, backup, target, expect=True)
    assert found.value.ranges == ((9 * CHUNK, CHUNK),)


def test_what_somebody_else_wrote_where_nothing_differs_is_found_by_reading_back(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    target = SimDisk(DATA[: 4 * CHUNK] + bytes(16 * CHUNK))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        target.write_at(CHUNK, b"mounted")
        session.rewrite(survey, backup, target, expect=True)
        with pytest.raises(Damaged, match="16384 bytes of the target, from 16384 on") as found:
            session.reread(backup, target)
    assert found.value.ranges == ((CHUNK, CHUNK),)


def test_a_byte_that_changed_behind_the_page_cache_is_found_by_reading_back(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    target = SimDisk(DATA + bytes(CHUNK))
    for place in (5 * CHUNK + 3, 20 * CHUNK + 7):
        with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
            target.flip(place)
            session.reread(backup, target, past_caches=False)
            with pytest.raises(Damaged) as found:
                session.reread(backup, target)
            target.flip(place)
        (offset, length), *_ = found.value.ranges
        assert offset <= place < offset + length


def test_a_flush_that_fails_ends_the_restore_and_its_disk_is_put_back_without_believing_it(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    before = random.Random(5).randbytes(20 * CHUNK)
    for number in range(20):
        target = SimDisk(before, fail_flush=1)
        with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
            survey = session.survey(target, backup, description=ABOUT)
            session.commit([survey], pins=[backup])
            marks: list[int] = []
            with pytest.raises(Unavailable, match="cannot flush"):
                session.rewrite(survey, backup, target, expect=True, on_mark=marks.append)
            assert marks == []
            session.rewrite(backup, survey, target, blind=True)
            session.reread(survey, target)
        assert before == target.medium, number


def test_zeroes_are_put_back_without_space_though_nothing_is_believed(tmp_path: Path) -> None:
    """Where a disk is full, a hole that gets zeroes as data would find no place for them."""
    chunk, unit = 256 << 10, 64 << 10
    house = House(tmp_path, chunk_size=chunk)
    backup = house.save(MemoryDisk.of(random.Random(1).randbytes(4 * chunk)))
    before = MemoryDisk.of(b"".join(bytes(at * unit) + b"data".ljust(chunk - at * unit, b"\0") for at in range(4)))
    held = before.data
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(before, backup, description=ABOUT)
        session.rewrite(backup, survey, before, blind=True)
    assert sorted(before.writes) == [(at * chunk + at * unit, unit) for at in range(4)]
    assert sum(length for _, length in before.blanked) == 4 * (chunk - unit)
    assert before.data == held


def test_a_later_life_does_not_believe_the_cache_that_a_failed_flush_left(house: House) -> None:
    """The process died after its flush had failed: the cache shows new bytes that the medium does not hold."""
    backup = house.save(MemoryDisk.of(DATA))
    before = random.Random(5).randbytes(20 * CHUNK)
    target = SimDisk(before, fail_flush=1)
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        (safety,) = session.commit([survey], pins=[backup])
        with pytest.raises(Unavailable, match="cannot flush"):
            session.rewrite(survey, backup, target, expect=True)
    assert target.data == DATA
    assert target.medium != DATA
    house.open().rejoin(session.number).rewrite(safety, backup, target)
    assert target.medium == DATA


def test_damage_in_what_is_wanted_is_known_before_the_first_write(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    (pack, _), *_ = house.store.list("packs/")
    sealed = bytearray(house.store.get(pack))
    sealed[len(sealed) // 2] ^= 1
    house.store.delete(pack)
    house.store.put(pack, bytes(sealed))
    target = SimDisk(bytes(len(DATA)))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        with pytest.raises(Damaged, match="16384 bytes in 1 place:") as found:
            session.check_wanted(survey, target)
    assert target.written == []
    ((offset, length),) = found.value.ranges
    assert (offset % CHUNK, length) == (0, CHUNK)


def test_a_target_that_is_too_small_or_was_resized_is_refused(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        with pytest.raises(InvalidRequest, match=f"{CHUNK} bytes, the backup needs {len(DATA)}") as small:
            session.survey(SimDisk(bytes(CHUNK)), backup, description=ABOUT)
        survey = session.survey(SimDisk(bytes(len(DATA))), backup, description=ABOUT)
        larger = SimDisk(bytes(len(DATA) + 1))
        for work in (session.check_wanted, lambda survey, target: session.rewrite(survey, backup, target)):
            with pytest.raises(InvalidRequest, match="when it was compared"):
                work(survey, larger)
    assert Code.TARGET_TOO_SMALL is small.value.code
    assert larger.written == []


def test_what_was_not_stored_cannot_be_committed(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(SimDisk(bytes(len(DATA))), backup, description=ABOUT, keep=False)
        with pytest.raises(ValueError, match="was not stored"):
            session.commit([survey], pins=[backup])


def test_a_safety_manifest_stays_while_it_is_pinned_though_it_is_deleted(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))
    before = random.Random(6).randbytes(len(DATA))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(SimDisk(before), backup, description=ABOUT)
        (safety,) = session.commit([survey], pins=[backup])
    house.repository.delete([safety, backup])
    target = SimDisk(DATA)
    again = house.open()
    again.rejoin(session.number).rewrite(backup, safety, target)
    assert before == target.medium
    assert {safety, backup} == set(again.log.refresh().needed)
    again.end(session.number, unpin=True)
    assert again.log.refresh().needed == {}


def test_a_hint_saves_reading_and_is_proven_only_if_it_is_guaranteed(house: House) -> None:
    before = bytearray(random.Random(7).randbytes(len(DATA)))
    backup, then = house.save(MemoryDisk.of(DATA)), house.save(MemoryDisk.of(bytes(before)))
    before[5 * CHUNK : 5 * CHUNK + 10] = b"since then"
    before[8 * CHUNK : 9 * CHUNK] = bytes(CHUNK)
    changes = [(8 * CHUNK, CHUNK), (5 * CHUNK, 10), (5 * CHUNK + 4, 3), (len(DATA) - 1, 100)]
    with house.repository.session(PROJECT, label="r", reads=[backup, then]) as session:
        target = SimDisk(bytes(before))
        plain = session.survey(target, backup, description=ABOUT)
        assert (len(DATA), True) == (target.read, plain.proven)
        target.read = 0
        hinted = session.survey(target, backup, description=ABOUT, hint=Hint(then, changes))
        assert (3 * CHUNK, False, plain.root) == (target.read, hinted.proven, hinted.root)
        assert not session.rewrite(hinted, backup, target, expect=True).proven
        assert target.data == DATA
        assert not session.rewrite(backup, hinted, target).proven
        sure = session.survey(target, backup, description=ABOUT, hint=Hint(then, changes, guaranteed=True))
        assert session.rewrite(sure, backup, target, expect=True).proven
        assert target.data == DATA


def test_a_hint_that_lies_is_noticed_where_it_matters(house: House) -> None:
    before = random.Random(8).randbytes(len(DATA))
    backup, then = house.save(MemoryDisk.of(DATA)), house.save(MemoryDisk.of(before))
    target = SimDisk(before[:CHUNK] + b"!" + before[CHUNK + 1 :])
    with house.repository.session(PROJECT, label="r", reads=[backup, then]) as session:
        survey = session.survey(target, backup, description=ABOUT, hint=Hint(then, [], guaranteed=True))
        with pytest.raises(Damaged, match="somebody else"):
            session.rewrite(survey, backup, target, expect=True)


def test_a_hint_about_a_disk_of_another_size_is_none(house: House) -> None:
    backup, then = house.save(MemoryDisk.of(DATA)), house.save(MemoryDisk.of(DATA[:-CHUNK]))
    target = SimDisk(DATA)
    with house.repository.session(PROJECT, label="r", reads=[backup, then]) as session:
        survey = session.survey(target, backup, description=ABOUT, hint=Hint(then, [], guaranteed=True))
    assert (len(DATA), True, len(DATA)) == (target.read, survey.proven, survey.kept)


def test_space_is_reserved_for_what_will_be_written_and_given_back_where_it_became_zero(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA[: 6 * CHUNK] + bytes(4 * CHUNK) + DATA[10 * CHUNK :]))
    target = SimDisk(bytes(8 * CHUNK) + DATA[8 * CHUNK :] + b"tail" * 100)
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        survey = session.survey(target, backup, description=ABOUT)
        session.reserve(survey, backup, target)
        assert target.reserved == [(0, 6 * CHUNK)]
        session.rewrite(survey, backup, target, expect=True)
        session.release(survey, backup, target)
    assert target.punched == [(8 * CHUNK, 2 * CHUNK), (20 * CHUNK, 400)]


def test_a_new_disk_allocates_what_it_will_hold_before_the_first_write(house: House) -> None:
    """In few steps, also where data goes on from one unit of work to the next; and nothing for zeroes."""
    data = b"x" * (200 * CHUNK) + bytes(5 * CHUNK) + b"y" * (CHUNK + 100)
    backup = house.save(MemoryDisk.of(data))

    class NewDisk(SimDisk):
        def reserve(self, offset: int, length: int) -> None:
            assert self.written == []
            super().reserve(offset, length)

    target = NewDisk(bytes(len(data)))
    with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
        session.restore(backup, target, target_is_new=True)
    assert target.reserved == [(0, 200 * CHUNK), (205 * CHUNK, CHUNK + 100)]
    assert target.data == data


def test_a_check_that_raises_stops_before_the_next_write(house: House) -> None:
    backup = house.save(MemoryDisk.of(DATA))

    class Cancelled(Exception):
        pass

    for most in range(3):
        target = SimDisk((bytes(CHUNK) + DATA[CHUNK : 2 * CHUNK]) * 10)

        def check() -> None:
            if len(target.written) >= most:  # noqa: B023
                raise Cancelled

        with house.repository.session(PROJECT, label="r", reads=[backup]) as session:
            survey = session.survey(target, backup, description=ABOUT)
            with pytest.raises(Cancelled):
                session.rewrite(survey, backup, target, check=check)
        assert len(target.written) <= most + 1  # two threads
