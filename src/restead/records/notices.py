"""Rows of what operators are told: written in the transaction that makes it true, whoever is told of it later.

So nothing that is durable goes untold, and nothing is told that a crash undid.  Who is told is decided when the service
hands notices on (`deliveries`): what writes them need not know any recipient.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from restead.domain.backup import Failure
from restead.domain.ids import ProjectId, canonical_id, new_id
from restead.domain.notice import FACTS, RULES, Matter, Notice, NoticeKind, Outcome, said
from restead.domain.operation import Operation
from restead.domain.run import RunKind
from restead.domain.states import OperationState
from restead.records.database import Transaction
from restead.records.tables import notices, policies, troubles

NO_PROJECT = ProjectId("")

_MATTERS = {RunKind.BACKUP: Matter.BACKUP, RunKind.RESTORE: Matter.RESTORE, RunKind.DELETE: Matter.DELETION}
_OUTCOMES = {
    OperationState.SUCCESS: Outcome.GOOD,
    OperationState.FAILED: Outcome.FAILED,
    OperationState.SKIPPED: Outcome.MISSED,
}


def say(tx: Transaction, kind: NoticeKind, project_id: ProjectId, facts: Mapping[str, object]) -> Notice:
    """Add a notice.  The transaction holds the write lock, so its number is the highest."""
    assert facts.keys() == set(FACTS[kind]), f"{kind} tells {FACTS[kind]}, not {sorted(facts)}"
    number = (tx.connection.scalar(sa.select(sa.func.max(notices.c.number))) or 0) + 1
    made = Notice(new_id(), number, kind, tx.now, project_id, facts)
    tx.connection.execute(
        notices.insert().values(
            id=made.id, number=number, kind=kind, at=tx.now, project_id=project_id, facts=dict(facts), routed=False
        )
    )
    return made


def heard(
    tx: Transaction, matter: Matter, outcome: Outcome, facts: Mapping[str, object], *,
    project_id: ProjectId = NO_PROJECT, of: str = "",
) -> Notice | None:  # fmt: skip
    """Say what is news of an outcome, in the transaction that makes it so; None if nothing is.

    *facts*: at least those that what is said tells.  *of*: which server or the like of the project the matter is about.
    """
    name = "/".join((matter.value, project_id, of))
    remembers = RULES[matter].remembers
    before = _bad(tx, name) if remembers else 0
    kind, now = said(matter, outcome, before)
    if remembers and now != before:
        _remember(tx, name, now)
    return None if kind is None else say(tx, kind, project_id, {fact: facts[fact] for fact in FACTS[kind]})


def in_trouble(tx: Transaction, matter: Matter) -> bool:
    """Tell whether a matter of the whole service has gone wrong and not gone well since."""
    return _bad(tx, "/".join((matter.value, NO_PROJECT, ""))) > 0


def ended(tx: Transaction, operation: Operation) -> Notice | None:
    """Say what is news of an operation that has ended, or was left out."""
    why = operation.failure
    facts = {
        "operation_id": operation.id, "server_id": operation.server_id, "server_name": operation.server_name,
        "backup_id": operation.backup_id, "backup_name": operation.backup_name, "policy_id": operation.plan_id or "",
        "restore_id": operation.restore_id or "", **reasons(why),
    }  # fmt: skip
    if operation.state is OperationState.SKIPPED and not operation.server_id:
        facts["policy_name"] = _policy_name(tx, operation.plan_id)
        return heard(tx, Matter.POLICY, Outcome.MISSED, facts, project_id=operation.project_id)
    matter, server = _MATTERS[operation.kind], canonical_id(operation.server_id)
    return heard(tx, matter, _OUTCOMES[operation.state], facts, project_id=operation.project_id, of=server)


def reasons(failure: Failure | None) -> dict[str, object]:
    """Return how a notice tells why something failed."""
    return {"code": failure.code.value if failure else "", "reason": failure.message if failure else ""}


def read(tx: Transaction, ids: Iterable[str]) -> dict[str, Notice]:
    """Return these notices by their ids."""
    query = sa.select(notices).where(notices.c.id.in_(set(ids)))
    return {row.id: notice_of(row) for row in tx.connection.execute(query)}


def notice_of(row: "sa.Row[Any]") -> Notice:
    return Notice(row.id, row.number, NoticeKind(row.kind), row.at, ProjectId(row.project_id), row.facts)


def _bad(tx: Transaction, name: str) -> int:
    return tx.connection.scalar(sa.select(troubles.c.bad).where(troubles.c.name == name)) or 0


def _remember(tx: Transaction, name: str, bad: int) -> None:
    if bad == 0:
        tx.connection.execute(troubles.delete().where(troubles.c.name == name))
    elif not tx.connection.execute(troubles.update().where(troubles.c.name == name).values(bad=bad)).rowcount:
        tx.connection.execute(troubles.insert().values(name=name, bad=bad, since=tx.now))


def _policy_name(tx: Transaction, id: str | None) -> str:
    return tx.connection.scalar(sa.select(policies.c.name).where(policies.c.id == id)) or ""
