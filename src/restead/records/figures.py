"""What operators watch, out of the rows of all projects: by indexes, whose cost does not grow with what has ended."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from restead.domain.figures import Ended, Figures, Looked, ServerAge, Telling
from restead.domain.ids import ProjectId
from restead.domain.run import Claim, RunKind, RunState
from restead.domain.states import BackupState, OperationState
from restead.records import deliveries, verifications
from restead.records.database import Transaction
from restead.records.tables import backups, operations, restores, runs, volume_backups

_OPEN = (RunState.WAITING, RunState.RUNNING)
_GOOD = (BackupState.AVAILABLE, BackupState.RESTORING)


def figures(tx: Transaction, servers: int) -> Figures:
    """Return what the rows say now; *servers*: the most that are told of."""
    ages, every = _ages(tx, servers) if servers else ([], False)
    return Figures(_runs(tx), _longest_wait(tx), _looked(tx), ages, every,
                   Telling(*deliveries.figures(tx)))  # fmt: skip


def answer(tx: Transaction) -> None:
    """Return if rows can be read."""
    tx.connection.execute(sa.select(runs.c.id).limit(1)).all()


def ended(tx: Transaction, claim: Claim) -> Ended:
    """Return what a run has come to; in the transaction that has ended it."""
    outcome = tx.connection.scalar(sa.select(operations.c.state).where(operations.c.id == claim.run_id)) or "unknown"
    if claim.kind is RunKind.RESTORE:
        stats = tx.connection.scalar(sa.select(restores.c.stats).where(restores.c.id == claim.subject)) or {}
        return Ended(claim.kind, outcome, written=stats.get("written", 0))
    if claim.kind is RunKind.BACKUP and outcome == OperationState.SUCCESS:
        disks = sa.select(volume_backups.c.read, volume_backups.c.stored)
        rows = tx.connection.execute(disks.where(volume_backups.c.backup_id == claim.subject)).all()
        return Ended(claim.kind, outcome, sum(row.read for row in rows), sum(row.stored for row in rows))
    return Ended(claim.kind, outcome)


def _runs(tx: Transaction) -> dict[tuple[RunKind, RunState], int]:
    query = sa.select(runs.c.kind, runs.c.state, sa.func.count()).where(runs.c.state.in_(_OPEN))
    found = {(kind, state): 0 for kind in RunKind for state in _OPEN}
    for kind, state, number in tx.connection.execute(query.group_by(runs.c.kind, runs.c.state)):
        found[RunKind(kind), RunState(state)] = number
    return found


def _longest_wait(tx: Transaction) -> timedelta:
    first = tx.connection.scalar(sa.select(sa.func.min(runs.c.created_at)).where(runs.c.state == RunState.WAITING))
    return timedelta(0) if first is None else max(timedelta(0), tx.now - first)


def _looked(tx: Transaction) -> Looked | None:
    last, stands = verifications.newest(tx, ended=True), verifications.standing(tx)
    if last is None or stands is None:
        return None
    return Looked(tx.now - last.started_at, len(stands.findings), len(stands.disks))


def _ages(tx: Transaction, most: int) -> tuple[list[ServerAge], bool]:
    """Return the first *most* servers by project and id, without those whose backups are deleted; whether it is all.

    Each is one leap in the index to the next server and a few steps back from its newest backup, however many it has.
    What restores have overwritten is no backup here.
    """
    there = _servers(most)
    of_server = sa.and_(backups.c.project_id == there.c.project_id, backups.c.server_key == there.c.server_key,
                        backups.c.safety_of.is_(None))  # fmt: skip
    newest = sa.select(backups.c.protected_at).where(of_server).order_by(backups.c.created_at.desc()).limit(1)
    # What a wrong clock has dated ahead of now would say until then that all is well.
    good = newest.where(backups.c.state.in_(_GOOD), backups.c.created_at <= tx.now).scalar_subquery().label("good")
    any_left = sa.select(sa.literal(1)).where(of_server, backups.c.state != BackupState.DELETED).limit(1)
    query = sa.select(there.c.project_id, there.c.server_key, good, any_left.scalar_subquery().label("any_left"))
    rows = tx.connection.execute(query.where(there.c.project_id.is_not(None)).order_by(there.c.before)).all()
    ages = [
        ServerAge(ProjectId(row.project_id), row.server_key, None if row.good is None else tx.now - row.good)
        for row in rows[:most]
        if row.any_left
    ]
    return ages, len(rows) <= most


def _servers(most: int) -> Any:
    """The first servers that have rows of backups: each is looked for behind the one before it."""
    row = backups.alias("row")
    order = (row.c.project_id, row.c.server_key)
    first = sa.select(*order).order_by(*order).limit(1).subquery()
    there = sa.select(first, sa.literal(0).label("before")).cte("there", recursive=True)

    def following(column: "sa.Column[Any]") -> "sa.Function[Any]":
        # In two steps, since SQLite looks up no more than the project of (project, server) > (…, …).
        same = sa.and_(row.c.project_id == there.c.project_id, row.c.server_key > there.c.server_key)
        places = (same, row.c.project_id > there.c.project_id)
        found = (sa.select(column).where(where).order_by(*order).limit(1).scalar_subquery() for where in places)
        return sa.func.coalesce(*found)

    step = sa.select(*map(following, order), there.c.before + 1)
    return there.union_all(step.where(there.c.project_id.is_not(None), there.c.before < most))
