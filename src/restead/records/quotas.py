"""What each project may keep: the operator's word for it, else that for all."""

from dataclasses import replace

import sqlalchemy as sa

from restead.domain.ids import ProjectId
from restead.domain.quota import UNLIMITED, QuotaLimits, check_quotas
from restead.records import backups
from restead.records.database import Transaction
from restead.records.tables import backups as backup_table
from restead.records.tables import project_quotas


def limits(tx: Transaction, project_id: ProjectId, defaults: QuotaLimits) -> QuotaLimits:
    """Return the limits of a project; *defaults* where nothing is set for it."""
    query = sa.select(project_quotas).where(project_quotas.c.project_id == project_id)
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        return defaults
    return QuotaLimits(
        defaults.backups if row.backups is None else row.backups,
        defaults.capacity if row.capacity is None else row.capacity,
    )


def check(tx: Transaction, project_id: ProjectId, defaults: QuotaLimits) -> None:
    """Return if one more backup may be begun in the project.

    Raises:
        InvalidRequest: CSBS.9006.
    """
    number, stored = backups.usage(tx, project_id)
    check_quotas(limits(tx, project_id, defaults), backups=number, stored=stored)


def check_capacity(tx: Transaction, project_id: ProjectId, defaults: QuotaLimits) -> None:
    """Return if a backup that was promised may still be made: many may be promised at once.  Raises as `check`."""
    _, stored = backups.usage(tx, project_id)
    check_quotas(replace(limits(tx, project_id, defaults), backups=UNLIMITED), backups=0, stored=stored)


def set_limits(tx: Transaction, project_id: ProjectId, backups: int | None, capacity: int | None) -> None:
    """Set what the project may keep; None: as all projects.  Nothing set is no row."""
    tx.connection.execute(project_quotas.delete().where(project_quotas.c.project_id == project_id))
    if backups is not None or capacity is not None:
        row = {"project_id": project_id, "backups": backups, "capacity": capacity}
        tx.connection.execute(project_quotas.insert().values(**row))


def own(tx: Transaction) -> dict[ProjectId, tuple[int | None, int | None]]:
    """Return what is set for single projects: backups and capacity."""
    query = sa.select(project_quotas).order_by(project_quotas.c.project_id)
    return {ProjectId(row.project_id): (row.backups, row.capacity) for row in tx.connection.execute(query)}


def projects(tx: Transaction) -> list[ProjectId]:
    """Return the projects that keep something or have limits of their own."""
    kept = sa.select(backup_table.c.project_id).distinct()
    found = {*tx.connection.scalars(kept), *own(tx)}
    return sorted(map(ProjectId, found))
