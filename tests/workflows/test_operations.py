"""The log of what really ran: settled in the same transaction as the run."""

from datetime import timedelta

from tests.house import PROJECT, House

from restead.domain.audit import Phase
from restead.domain.listing import Window
from restead.domain.operation import Operation, OperationFilter
from restead.domain.run import RunKind
from restead.domain.states import OperationState, RestoreState
from restead.records import audit, runs


def _log(house: House) -> list[Operation]:
    page = house.service.operations.list(house.caller, PROJECT, OperationFilter(), Window())
    return list(page.items)


def test_what_ran_is_in_the_log(house: House) -> None:
    """A backup, a restore, the deletion of both what it kept and what it restored; each a success."""
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    assert house.restore(backup).state is RestoreState.SUCCESS
    for each in house.all_backups():
        house.service.checkpoints.delete(house.caller, PROJECT, each.checkpoint_id, None)
    house.drain()
    found = _log(house)
    assert sorted(each.kind for each in found) == sorted(
        [RunKind.BACKUP, RunKind.RESTORE, RunKind.DELETE, RunKind.DELETE]
    )
    assert {each.state for each in found} == {OperationState.SUCCESS}
    assert all(each.ended_at and each.started_at and each.server_name == "web-1" for each in found)


def test_the_audit_trail_tells_what_came_of_each(house: House) -> None:
    server = house.server()
    good = house.protect(server)
    bad = house.protect(server, wait=False)
    with house.records.begin() as tx:
        assert runs.claim(tx, "dead", timedelta(seconds=60)) is not None
    house.cloud.remove(server.id)
    house.engine.take_up()
    house.drain()
    ended = [each.said for each in audit.entries(house.records)]
    assert [(said.phase, said.action, said.subject) for said in ended] == [
        (Phase.ENDED, "backup", good.id), (Phase.ENDED, "backup", bad.id),
    ]  # fmt: skip
    assert ended[0].outcome == "done"
    assert ended[1].outcome.startswith("failed: ")


def test_what_failed_says_why_and_what_was_taken_up_again_began_once(house: House) -> None:
    server = house.server()
    backup = house.protect(server, wait=False)
    with house.records.begin() as tx:
        assert runs.claim(tx, "dead", timedelta(seconds=60)) is not None
    began = _log(house)[0].started_at
    house.cloud.remove(server.id)
    house.engine.take_up()
    house.drain()
    (entry,) = _log(house)
    assert entry.state is OperationState.FAILED
    assert entry.failure == house.backup(backup.id).failure
    assert entry.failure is not None
    assert entry.failure.code.value == "CSBS.6000"
    assert entry.started_at == began
