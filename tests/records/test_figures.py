"""Figures for operators: right over all projects, and by indexes however much has ended."""

from dataclasses import replace
from datetime import timedelta

from tests.lab import databases
from tests.records.rows import T0, Clock, P, Q, add_backup, add_restore, server
from tests.records.test_plans import watched

from restead.domain.backup import Failure
from restead.domain.errors import Code
from restead.domain.figures import Ended, Looked, ServerAge
from restead.domain.ids import BackupId, ManifestId, RestoreId, RunId
from restead.domain.restore import RestoreStats
from restead.domain.run import Claim, RunKind, RunState
from restead.domain.states import Event
from restead.domain.verification import DamagedDisk, Depth, Finding, Verification, VerificationState
from restead.records import Records, backups, figures, operations, restores, runs, verifications

_LEASE = timedelta(seconds=60)


def test_runs_are_counted_by_kind_and_state(records: Records, clock: Clock) -> None:
    with records.begin() as tx:
        made = add_backup(tx, "one")
        add_backup(tx, "two", protected=False)
        add_restore(tx, "r", made)
        runs.enqueue(tx, RunId("run-r"), RunKind.RESTORE, "r", P)
    clock.forward(5)
    with records.begin() as tx:
        claim = runs.claim(tx, "us", _LEASE)
        assert claim is not None
        assert claim.kind is RunKind.RESTORE
    clock.forward(5)
    with records.read() as tx:
        found = figures.figures(tx, 10)
    there = {key: number for key, number in found.runs.items() if number}
    assert there == {(RunKind.BACKUP, RunState.WAITING): 2, (RunKind.RESTORE, RunState.RUNNING): 1}
    assert len(found.runs) == 2 * len(RunKind)
    assert (found.waiting, found.longest_wait) == (2, timedelta(seconds=10))
    with records.begin() as tx:
        runs.finish(tx, claim)
    with records.read() as tx:
        assert figures.figures(tx, 10).runs[RunKind.RESTORE, RunState.RUNNING] == 0


def test_nothing_waits_in_empty_records(records: Records) -> None:
    with records.read() as tx:
        found = figures.figures(tx, 10)
    assert (found.waiting, found.longest_wait, found.looked) == (0, timedelta(0), None)
    assert (found.servers, found.every_server) == ([], True)


def test_the_age_is_that_of_the_newest_good_backup(records: Records, clock: Clock) -> None:
    """Failed ones, those under way and what restores have kept do not count; deleted ones are no backups at all."""
    first, second, never, gone = (server(name) for name in ("s1", "s2", "s3", "s4"))
    other = server("s1", Q)
    with records.begin() as tx:
        for number, each in enumerate((first, second, other, gone)):
            add_backup(tx, f"old{number}", each)
        for event in (Event.DELETE, Event.DELETED):
            backups.move(tx, BackupId("old3"), event)
    clock.forward(100)
    with records.begin() as tx:
        add_backup(tx, "new", first)
        add_backup(tx, "kept", second, safety_of="r")
        add_backup(tx, "bad", never, protected=False)
        backups.move(tx, BackupId("bad"), Event.FAILED)
        add_backup(tx, "going-on", other, protected=False)
    clock.forward(11)
    with records.read() as tx:
        found = figures.figures(tx, 10)
    assert found.servers == [
        ServerAge(P, "s1", timedelta(seconds=11)),
        ServerAge(P, "s2", timedelta(seconds=111)),
        ServerAge(P, "s3", None),
        ServerAge(Q, "s1", timedelta(seconds=111)),
    ]
    assert found.every_server


def test_a_backup_that_a_wrong_clock_dates_ahead_is_not_the_newest(records: Records, clock: Clock) -> None:
    """It would say for years that all is well.  Where there is no other, nobody knows when there was a good one."""
    year = 365 * 86400
    first, second = server("s1"), server("s2")
    with records.begin() as tx:
        add_backup(tx, "old", first)
    clock.forward(5 * year)
    with records.begin() as tx:
        add_backup(tx, "ahead1", first)
        add_backup(tx, "ahead2", second)
    clock.forward(100 - 5 * year)
    with records.read() as tx:
        assert figures.figures(tx, 10).servers == [
            ServerAge(P, "s1", timedelta(seconds=100)), ServerAge(P, "s2", None)
        ]  # fmt: skip
        assert backups.newest_good(tx, P) == {"s1": T0}


def test_no_more_servers_than_asked_for_and_it_says_so(records: Records) -> None:
    with records.begin() as tx:
        for number in range(4):
            add_backup(tx, f"b{number}", server(f"s{number}"))
    with records.read() as tx:
        told = {most: figures.figures(tx, most) for most in (0, 1, 3, 4, 5)}
    assert {most: len(found.servers) for most, found in told.items()} == {0: 0, 1: 1, 3: 3, 4: 4, 5: 4}
    assert {most: found.every_server for most, found in told.items()} == {
        0: False, 1: False, 3: False, 4: True, 5: True}  # fmt: skip
    assert [each.server_key for each in told[3].servers] == ["s0", "s1", "s2"]


def test_what_the_last_verification_found(records: Records, clock: Clock) -> None:
    """The last that ended: one that is under way has not found everything yet."""
    disk = DamagedDisk(ManifestId("1.0"), P, "v", ((0, 512),), 512, "lost")
    with records.begin() as tx:
        verifications.keep(tx, Verification("a", Depth.FULL, VerificationState.DAMAGED, T0, T0, 1, 1,
                                            (Finding("x", "gone"), Finding("y", "gone")), (disk,)))  # fmt: skip
    clock.forward(9)
    with records.begin() as tx:
        verifications.keep(tx, Verification("b", Depth.FULL, VerificationState.RUNNING, tx.now))
    with records.read() as tx:
        assert figures.figures(tx, 0).looked == Looked(timedelta(seconds=9), 2, 1)




def test_the_cost_does_not_grow_with_what_has_ended() -> None:
    """SQLite goes through indexes; no table of runs or backups is read from end to end."""
    with databases.empty("sqlite") as url:
        records = Records.open(url)
        with records.begin() as tx:
            add_backup(tx, "b")
        with watched(records) as steps, records.read() as tx:
            figures.figures(tx, 10)
        records.close()
    assert [step for step in steps if step.startswith("SCAN") and step.split()[1] in ("runs", "backups")] == []
    leaps = [step for step in steps if step.startswith("SEARCH row ") and "(project_id=? AND server_key>?)" in step]
    assert len(leaps) == 2, steps


def test_what_runs_have_come_to(records: Records) -> None:
    """Bytes stand in the rows of the subject, the outcome in the operation log; a failed backup has no bytes."""
    with records.begin() as tx:
        made = add_backup(tx, "good", protected=False)
        bad = add_backup(tx, "bad", protected=False)
    with records.begin() as tx:
        claimed = [runs.claim(tx, "us", _LEASE) for _ in range(2)]
        claims = {claim.subject: claim for claim in claimed if claim}
        backups.move(tx, made.id, Event.PROTECTED, lambda row: replace(
            row, volumes=tuple(replace(each, read=1000, stored=30) for each in row.volumes)))  # fmt: skip
        backups.move(tx, bad.id, Event.FAILED, lambda row: replace(row, failure=Failure(Code.UNAVAILABLE, "gone")))
        for claim in claims.values():
            operations.settled(tx, claim.run_id)
        assert figures.ended(tx, claims["good"]) == Ended(RunKind.BACKUP, "success", read=2000, stored=60)
        assert figures.ended(tx, claims["bad"]) == Ended(RunKind.BACKUP, "failed")
        add_restore(tx, "r", backups.backup(tx, P, made.id))
        restores.progress(tx, RestoreId("r"), 50, RestoreStats(written=512), [50, 50])
        claim = Claim(RunId("run-r"), RunKind.RESTORE, "r", P, 1)
        assert figures.ended(tx, claim) == Ended(RunKind.RESTORE, "unknown", written=512)
