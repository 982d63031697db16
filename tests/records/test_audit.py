"""The chain of the audit trail: what is in it stays as it was written, or it shows."""

import threading

import pytest
import sqlalchemy as sa
from tests.records.rows import T0, Clock

from restead.domain.audit import FIRST, Phase, Said, digest_of
from restead.domain.errors import Damaged
from restead.records import Records, audit

SAID = Said(Phase.ASKED, "csbs:backups:create", "POST /v1/p1/x", "alice", "p1", "192.0.2.1", "req-1")


@pytest.fixture
def written(records: Records) -> Records:
    """Five entries."""
    for number in range(5):
        with records.begin() as tx:
            audit.append(tx, SAID.answered(f"20{number}"))
    return records


def change(records: Records, statement: str) -> None:
    with records.begin() as tx:
        tx.connection.execute(sa.text(statement))


def test_entries_are_numbered_and_read_back_as_they_were(records: Records, clock: Clock) -> None:
    with records.begin() as tx:
        first = audit.append(tx, SAID)
    clock.forward(1.5)
    with records.begin() as tx:
        audit.append(tx, Said(Phase.ENDED, "restore", "a\0b\nc\ud800", outcome="failed: ü"))
    found = list(audit.entries(records))
    assert [each.number for each in found] == [1, 2]
    assert found[0] == first
    assert found[0].said == SAID
    assert (found[1].said.subject, found[1].said.outcome) == (r"a\x00b\nc\ud800", "failed: ü")
    assert found[1].follows(1, first.digest)
    assert list(audit.entries(records, after=1)) == found[1:]
    assert audit.check(records) == (2, found[1].digest)


def test_an_empty_trail_is_whole(records: Records) -> None:
    assert audit.check(records) == (0, FIRST)
    assert audit.check(records, (0, FIRST)) == (0, FIRST)


def test_the_digest_is_what_it_is() -> None:
    """Whoever checks a trail in ten years computes the same."""
    assert digest_of(1, T0, SAID, FIRST) == "392841496be689683b4c3d8d2bb258ba9dfe6c2d13eedd51433f67bef41e19b1"


def test_what_somebody_else_chose_is_cut(records: Records) -> None:
    with records.begin() as tx:
        audit.append(tx, Said(Phase.ASKED, "a", "x" * 100_000))
    (entry,) = audit.entries(records)
    assert len(entry.said.subject) == 2000
    audit.check(records)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET outcome = 'success' WHERE number = 3",
        "UPDATE audit SET \"user\" = 'mallory' WHERE number = 1",
        "UPDATE audit SET phase = 'ended' WHERE number = 2",
        "DELETE FROM audit WHERE number = 1",
        "DELETE FROM audit WHERE number = 4",
        "UPDATE audit SET number = 9 WHERE number = 5",
    ],
)  # fmt: skip
def test_a_change_breaks_the_chain(written: Records, statement: str) -> None:
    change(written, statement)
    with pytest.raises(Damaged, match="of the audit trail"):
        audit.check(written)


def test_an_end_that_was_cut_off_or_written_anew_shows_to_who_knows_it(written: Records) -> None:
    known = audit.check(written)
    middle = next((each.number, each.digest) for each in audit.entries(written) if each.number == 3)
    assert audit.check(written, middle) == known
    change(written, "DELETE FROM audit WHERE number > 3")
    audit.check(written)
    with pytest.raises(Damaged, match="ends with entry 3, and had an entry 5"):
        audit.check(written, known)
    for _ in range(2):
        with written.begin() as tx:
            audit.append(tx, SAID)
    with pytest.raises(Damaged, match="entry 5 of the audit trail has digest"):
        audit.check(written, known)


def test_writers_at_one_time_make_one_chain(records: Records) -> None:
    def write() -> None:
        for _ in range(20):
            with records.begin() as tx:
                audit.append(tx, SAID)

    threads = [threading.Thread(target=write) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit.check(records)[0] == 100
