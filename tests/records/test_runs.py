"""Runs: claims, leases, the fence, the journal, the story."""

from datetime import timedelta

import pytest
from tests.records.rows import T0, Clock, P, Q

from restead.domain.ids import RunId
from restead.domain.run import Claim, RunKind, Told
from restead.records import LeaseLost, Records, events, runs

LEASE = timedelta(seconds=60)


def _enqueue(records: Records, clock: Clock, *ids: str, kind: RunKind = RunKind.BACKUP, project: str = P) -> None:
    for id in ids:
        clock.forward(1)
        with records.begin() as tx:
            runs.enqueue(tx, RunId(id), kind, f"subject of {id}", project)  # type: ignore[arg-type]


def _claim(records: Records, owner: str = "me") -> Claim | None:
    with records.begin() as tx:
        return runs.claim(tx, owner, LEASE)


def test_runs_are_claimed_in_order_each_once_restores_first(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, "b1", "b2")
    _enqueue(records, clock, "r1", kind=RunKind.RESTORE)
    claimed = [_claim(records) for _ in range(4)]
    assert [claim and (claim.run_id, claim.number) for claim in claimed] == [("r1", 1), ("b1", 1), ("b2", 1), None]


def test_a_lease_that_has_run_out_is_claimed_again_with_a_higher_number(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, "b1")
    first = _claim(records)
    assert first is not None
    clock.forward(59)
    assert _claim(records) is None
    with records.begin() as tx:
        runs.renew(tx, first, LEASE)
    clock.forward(59)
    assert _claim(records) is None
    clock.forward(2)
    second = _claim(records, "other")
    assert second is not None
    assert second.number == 2


def test_who_lost_the_lease_cannot_write_a_row_any_more(records: Records, clock: Clock) -> None:
    """Each way in which an owner writes."""
    _enqueue(records, clock, "b1")
    first = _claim(records)
    clock.forward(61)
    second = _claim(records)
    assert first is not None
    assert second is not None
    for write in (
        lambda tx: runs.fence(tx, first),
        lambda tx: runs.renew(tx, first, LEASE),
        lambda tx: runs.release(tx, first),
        lambda tx: runs.finish(tx, first),
        lambda tx: runs.add_step(tx, first, "a", 1),
    ):
        with pytest.raises(LeaseLost), records.begin() as tx:
            write(tx)
    with records.begin() as tx:
        assert runs.finished(tx, second.run_id, "a") is None
        runs.finish(tx, second)
    with pytest.raises(LeaseLost), records.begin() as tx:
        runs.fence(tx, second)
    assert _claim(records) is None


def test_a_start_frees_what_a_dead_process_held(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, "b1", "b2")
    first = _claim(records)
    assert first is not None
    with records.begin() as tx:
        assert runs.release_all(tx) == 1
    again = _claim(records)
    assert again is not None
    assert (again.run_id, again.number) == ("b1", 2)


def test_at_most_five_deletions_of_a_project_run_at_once(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, *(f"d{n}" for n in range(7)), kind=RunKind.DELETE)
    _enqueue(records, clock, "e0", kind=RunKind.DELETE, project=Q)
    _enqueue(records, clock, "b0")
    claimed = [claim for claim in (_claim(records) for _ in range(9)) if claim]
    assert [claim.run_id for claim in claimed] == ["d0", "d1", "d2", "d3", "d4", "e0", "b0"]
    with records.begin() as tx:
        runs.finish(tx, claimed[2])
    freed = _claim(records)
    assert freed is not None
    assert freed.run_id == "d5"
    assert _claim(records) is None


def test_a_step_is_journalled_once_and_found_again(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, "b1")
    claim = _claim(records)
    assert claim is not None
    with records.begin() as tx:
        runs.add_step(tx, claim, "save", {"a": [1, None, "x"]})
        runs.add_step(tx, claim, "nothing", None)
    with records.read() as tx:
        assert runs.finished(tx, claim.run_id, "save") == runs.Finished({"a": [1, None, "x"]})
        assert runs.finished(tx, claim.run_id, "nothing") == runs.Finished(None)
        assert runs.finished(tx, claim.run_id, "else") is None


def test_a_story_is_told_in_order_and_goes_on_where_it_was_left(records: Records, clock: Clock) -> None:
    _enqueue(records, clock, "b1", "b2")
    with records.begin() as tx:
        events.add(tx, RunId("b1"), Told.ACCEPTED, "x", total=2**40)
        events.add(tx, RunId("b2"), Told.ACCEPTED)
        events.add(tx, RunId("b1"), Told.END)
    with records.read() as tx:
        story = events.story(tx, RunId("b1"))
        assert [(event.kind, event.subject, dict(event.numbers)) for event in story] == [
            (Told.ACCEPTED, "x", {"total": 2**40}), (Told.END, "", {}),
        ]  # fmt: skip
        assert events.story(tx, RunId("b1"), after=story[0].id) == story[1:]
        assert story[0].at > T0
