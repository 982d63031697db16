"""How many backups a project has in each state: numbers kept beside the rows, so that nobody has to count those.

They change in the transaction that changes the rows.  It holds the write lock already, so no two change one number, and
nobody waits longer for it.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from restead.domain.ids import ProjectId
from restead.domain.states import BackupState
from restead.records.database import Transaction
from restead.records.tables import backup_counts as counts
from restead.records.tables import backups


def moved(tx: Transaction, project_id: ProjectId, before: BackupState | None, now: BackupState) -> None:
    """Count a backup that has come from one state into another; *before* None: there was none."""
    if before is now:
        return
    for state, more in ((before, -1), (now, 1)):
        if state is not None and state is not BackupState.DELETED:
            _add(tx, project_id, state, more)


def number(tx: Transaction, project_id: ProjectId | None, state: str | None = None) -> int:
    """Return how many backups a project has, all have if *project_id* is None; *state*: only those in that state."""
    query = sa.select(sa.func.coalesce(sa.func.sum(counts.c.number), 0))
    if project_id is not None:
        query = query.where(counts.c.project_id == project_id)
    if state is not None:
        query = query.where(counts.c.state == state)
    return int(tx.connection.scalar(query) or 0)


def projects(tx: Transaction, state: str) -> Sequence[ProjectId]:
    """Return the projects that have backups in that state."""
    query = sa.select(counts.c.project_id).where(counts.c.state == state, counts.c.number > 0)
    return [ProjectId(id) for id in tx.connection.scalars(query)]


def wrong(tx: Transaction) -> Iterator[tuple[ProjectId, str, int, int]]:
    """Yield project, state, the number that is kept and that of the rows, where they differ."""
    rows = sa.select(backups.c.project_id, backups.c.state, sa.func.count().label("number"))
    rows = rows.where(backups.c.state != BackupState.DELETED).group_by(backups.c.project_id, backups.c.state)
    there = {(row.project_id, row.state): int(row.number) for row in tx.connection.execute(rows)}
    kept = {(row.project_id, row.state): int(row.number) for row in tx.connection.execute(sa.select(counts))}
    for project, state in sorted(there.keys() | kept.keys()):
        found = kept.get((project, state), 0), there.get((project, state), 0)
        if found[0] != found[1]:
            yield ProjectId(project), state, *found


def _add(tx: Transaction, project_id: ProjectId, state: BackupState, more: int) -> None:
    one = sa.and_(counts.c.project_id == project_id, counts.c.state == state)
    changed = tx.connection.execute(counts.update().where(one).values(number=counts.c.number + more))
    if not changed.rowcount:
        tx.connection.execute(counts.insert().values(project_id=project_id, state=state, number=more))
