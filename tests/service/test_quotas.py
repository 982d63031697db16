"""Quotas of single projects, and those that only show when work begins."""


import pytest
from tests.house import PROJECT, House

from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import ProjectId
from restead.domain.quota import QuotaLimits
from restead.domain.states import BackupState
from restead.records import quotas
from restead.records.tables import backups as backup_table


def _set(house: House, number: int | None, capacity: int | None = None, project: ProjectId = PROJECT) -> None:
    with house.records.begin() as tx:
        quotas.set_limits(tx, project, number, capacity)


def _limits(house: House) -> list[int]:
    return [each.quota for each in house.service.quotas.quotas(house.caller, PROJECT)]


def test_a_project_has_its_own_limits_where_they_are_set(house: House) -> None:
    server = house.server()
    assert _limits(house) == [-1, -1]
    _set(house, 1)
    assert _limits(house) == [-1, 1]
    house.protect(server)
    with pytest.raises(InvalidRequest, match="quota backups of the project is 1 and 1 are used"):
        house.protect(server)
    (finding,) = house.service.capabilities.protectable(house.caller, PROJECT, [(server.id, "OS::Nova::Server")])
    assert finding.code is Code.QUOTA_EXCEEDED
    _set(house, None, None)
    assert _limits(house) == [-1, -1]
    assert house.protect(server).state is BackupState.AVAILABLE
    _set(house, 0, project=ProjectId("another"))
    assert house.protect(server).state is BackupState.AVAILABLE, "another project's limit is no matter of this one"


def test_a_limit_of_its_own_may_be_wider_than_that_for_all(house: House) -> None:
    with house.records.read() as tx:
        assert quotas.limits(tx, PROJECT, QuotaLimits(5, 7)) == QuotaLimits(5, 7)
    _set(house, -1)
    with house.records.read() as tx:
        assert quotas.limits(tx, PROJECT, QuotaLimits(5, 7)) == QuotaLimits(-1, 7)


def test_many_that_were_promised_together_do_not_go_beyond_the_capacity(house: House) -> None:
    """When the second begins, the first has used it up: it fails, and nothing was read for it."""
    first, second = house.server(), house.server(name="web-2", seed=2)
    _set(house, None, 1)
    one, other = house.protect(first, wait=False), house.protect(second, wait=False)
    assert house.engine.run_next()
    with house.records.begin() as tx:
        tx.connection.execute(backup_table.update().where(backup_table.c.id == one.id).values(stored=2**30))
    house.drain()
    assert house.backup(one.id).state is BackupState.AVAILABLE
    late = house.backup(other.id)
    assert (late.state, late.protected_at) == (BackupState.ERROR, None)
    assert late.failure is not None
    assert late.failure.code is Code.QUOTA_EXCEEDED
    assert "reading" not in house.story(late.run_id)
