"""Rows of runs: who works on what, under which number, and what is finished of it.

The rows are the truth.  A run that is claimed gets a number higher than ever before; every later transaction
of its owner checks that the number still stands (`fence`), so an owner that was believed dead and is not
cannot write a row any more.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from restead.domain.ids import BackupId, ProjectId, RunId
from restead.domain.run import Claim, RunKind, RunState
from restead.domain.server import Server
from restead.records import operations
from restead.records.database import Transaction
from restead.records.tables import runs, steps

DELETIONS_AT_ONCE = 5  # CSBS, section 7.2: "At most five deletions of a project run at the same time"


class LeaseLost(Exception):
    """Somebody else owns the run now: whoever meets this stops without another write."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a step that was finished, in this life of the run or an earlier one."""

    result: Any  # JSON


def enqueue(
    tx: Transaction, id: RunId, kind: RunKind, subject: str, project_id: ProjectId, *, server: Server | None = None,
    not_after: datetime | None = None,
) -> None:  # fmt: skip
    """Promise a run; in the same transaction as what it is about, so that neither exists without the other.

    *server*: whose disks it works on, None if on none.  *not_after*: when it is given up if it has not begun.
    """
    tx.connection.execute(
        runs.insert().values(
            id=id,
            kind=kind,
            subject=subject,
            project_id=project_id,
            state=RunState.WAITING,
            created_at=tx.now,
            updated_at=tx.now,
            owner="",
            lease=0,
            deaths=0,
            until=None,
            driver="" if server is None else str(server.description.get("driver", "")),
            host="" if server is None else server.host,
            not_after=not_after,
        )
    )
    operations.opened(tx, id, kind, subject, project_id)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How many runs may be under way at once on the disks of one driver, and of one host; 0: no limit."""

    driver: int = 0
    host: int = 0


def claim(
    tx: Transaction, owner: str, lease: timedelta, limits: RunLimits = RunLimits(), *, besides: Collection[RunId] = ()
) -> Claim | None:
    """Take the next run that nobody works on, or whose owner's lease has run out; None if there is none.

    Restores first, since somebody waits for them; else in the order they were asked for.  *besides*: none of these,
    whatever their rows say.
    """
    query = (
        sa.select(runs)
        .where(_free(tx), runs.c.id.not_in(besides), _below_limit(), *_below(limits))
        .order_by(runs.c.kind != RunKind.RESTORE, runs.c.created_at, runs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        return None
    number = row.lease + 1
    deaths = row.deaths + (row.state == RunState.RUNNING)
    values = {"state": RunState.RUNNING, "owner": owner, "lease": number, "until": tx.now + lease, "deaths": deaths}
    tx.connection.execute(runs.update().where(runs.c.id == row.id).values(**values, updated_at=tx.now))
    operations.begun(tx, row.id)
    return Claim(row.id, RunKind(row.kind), row.subject, row.project_id, number, deaths)


def fence(tx: Transaction, claim: Claim) -> None:
    """Return if *claim* still stands, and keep it so until the transaction ends.  Raises LeaseLost."""
    query = sa.select(runs.c.lease, runs.c.state).where(runs.c.id == claim.run_id).with_for_update()
    row = tx.connection.execute(query).one()
    if row.lease != claim.number or row.state != RunState.RUNNING:
        raise LeaseLost(f"run {claim.run_id}: lease {claim.number} is over, {row.lease} ({row.state}) stands")


def renew(tx: Transaction, claim: Claim, lease: timedelta) -> None:
    """Make the claim last *lease* from now.  Raises LeaseLost."""
    fence(tx, claim)
    tx.connection.execute(runs.update().where(runs.c.id == claim.run_id).values(until=tx.now + lease))


def release(tx: Transaction, claim: Claim) -> None:
    """Give the run back unfinished, to be claimed again.  Raises LeaseLost."""
    fence(tx, claim)
    _set(tx, runs.c.id == claim.run_id, RunState.WAITING)


def release_all(tx: Transaction) -> int:
    """Give back every run that somebody works on: for a start, when every owner is known to be dead."""
    working = runs.c.state == RunState.RUNNING
    tx.connection.execute(runs.update().where(working).values(deaths=runs.c.deaths + 1))
    return _set(tx, working, RunState.WAITING)


def finish(tx: Transaction, claim: Claim) -> None:
    """End the run for good.  Raises LeaseLost."""
    fence(tx, claim)
    _set(tx, runs.c.id == claim.run_id, RunState.DONE)


def is_done(tx: Transaction, id: RunId) -> bool:
    """Tell whether there was such a run and it has ended."""
    return tx.connection.scalar(sa.select(runs.c.state).where(runs.c.id == id)) == RunState.DONE


def under_way(tx: Transaction, project_id: ProjectId | None = None) -> frozenset[RunId]:
    """Return the runs that have not ended; *project_id*: only of that project."""
    query = sa.select(runs.c.id).where(runs.c.state != RunState.DONE)
    if project_id is not None:
        query = query.where(runs.c.project_id == project_id)
    return frozenset(map(RunId, tx.connection.scalars(query)))


def give_up_overdue(tx: Transaction) -> list[tuple[RunId, BackupId, datetime]]:
    """End the runs that had to begin by now and did not; return each with its backup and when it had to."""
    late = sa.and_(runs.c.state == RunState.WAITING, runs.c.lease == 0, runs.c.not_after <= tx.now)
    query = sa.select(runs.c.id, runs.c.subject, runs.c.not_after).where(late).with_for_update(skip_locked=True)
    found = [(RunId(row.id), BackupId(row.subject), row.not_after) for row in tx.connection.execute(query)]
    for id, _, _ in found:
        _set(tx, runs.c.id == id, RunState.DONE)
    return found


def finished(tx: Transaction, run_id: RunId, name: str) -> Finished | None:
    """Return the result of a finished step, None if it was never finished."""
    query = sa.select(steps.c.result).where(steps.c.run_id == run_id, steps.c.name == name)
    row = tx.connection.execute(query).one_or_none()
    return None if row is None else Finished(row.result)


def add_step(tx: Transaction, claim: Claim, name: str, result: Any) -> None:
    """Write a step's result into the journal, under the claim.  Raises LeaseLost."""
    fence(tx, claim)
    tx.connection.execute(steps.insert().values(run_id=claim.run_id, name=name, result=result, finished_at=tx.now))


def _free(tx: Transaction) -> sa.ColumnElement[bool]:
    lost = sa.and_(runs.c.state == RunState.RUNNING, runs.c.until < tx.now)
    begun = runs.c.lease > 0
    in_time = sa.or_(runs.c.not_after.is_(None), runs.c.not_after > tx.now, begun)
    return sa.or_(sa.and_(runs.c.state == RunState.WAITING, in_time), lost)


def _below(limits: RunLimits) -> list[sa.ColumnElement[bool]]:
    """Where it is to be read and written there is room for one more; restores do not wait for room."""
    other = runs.alias()
    found: list[sa.ColumnElement[bool]] = []
    for name, most in (("driver", limits.driver), ("host", limits.host)):
        if most:
            own, same = runs.c[name], other.c[name] == runs.c[name]
            running = (
                sa.select(sa.func.count())
                .select_from(other)
                .where(same, other.c.state == RunState.RUNNING, other.c.id != runs.c.id)
                .scalar_subquery()
            )
            found.append(sa.or_(own == "", runs.c.kind == RunKind.RESTORE, running < most))
    return found


def _below_limit() -> sa.ColumnElement[bool]:
    other = runs.alias()
    under_way = (
        sa.select(sa.func.count())
        .select_from(other)
        .where(
            other.c.project_id == runs.c.project_id,
            other.c.kind == RunKind.DELETE,
            other.c.state == RunState.RUNNING,
            other.c.id != runs.c.id,
        )
        .scalar_subquery()
    )
    return sa.or_(runs.c.kind != RunKind.DELETE, under_way < DELETIONS_AT_ONCE)


def _set(tx: Transaction, where: sa.ColumnElement[bool], state: RunState) -> int:
    values = {"state": state, "owner": "", "until": None, "updated_at": tx.now}
    return tx.connection.execute(runs.update().where(where).values(**values)).rowcount
