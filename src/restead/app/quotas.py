"""Quotas on a data folder, as the command line works with them, service or not."""

from collections.abc import Iterator

from restead.app.opening import Opened
from restead.cli.doors import ProjectQuotas
from restead.domain.quota import QuotaLimits, quotas
from restead.domain.token import check_project
from restead.records import backups
from restead.records import quotas as rows


def default_quotas(opened: Opened) -> QuotaLimits:
    """Return what every project may keep that has no limits of its own."""
    return QuotaLimits(opened.settings.quota_backups, opened.settings.quota_capacity)


def project_quotas(opened: Opened) -> Iterator[ProjectQuotas]:
    with opened.records.read() as tx:
        own = rows.own(tx)
        for project in rows.projects(tx):
            number, stored = backups.usage(tx, project)
            limits = rows.limits(tx, project, default_quotas(opened))
            yield ProjectQuotas(project, project in own, quotas(limits, backups=number, stored=stored))


def set_project_quota(opened: Opened, project: str, number: int | None, capacity: int | None) -> None:
    with opened.records.begin() as tx:
        rows.set_limits(tx, check_project(project), number, capacity)
