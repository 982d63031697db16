"""Rows of policies, and of which server is listed by which."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from restead.domain.backup import Checkpoint, ProtectedServer
from restead.domain.errors import Code, NotFound
from restead.domain.ids import ProjectId, canonical_id
from restead.domain.listing import Page, Window
from restead.domain.policy import Keep, Policy, Selection
from restead.domain.states import BackupState
from restead.domain.tag import Tag, TagKind, TagSearch
from restead.records import listing, tags
from restead.records.checkpoints import checkpoint_of
from restead.records.database import Transaction
from restead.records.encoding import build, known, plain
from restead.records.tables import backups, checkpoints, due_times, policies, policy_servers

_SORTS = {"created_at": policies.c.created_at, "name": policies.c.name, "id": policies.c.id}
_SAME_COLUMNS = (
    "id", "project_id", "name", "description", "created_at", "updated_at", "operation_id", "operation_name",
    "operation_description", "enabled", "trigger_id", "pattern", "start_time", "considered_until", "retained_at",
    "parameters",
)  # fmt: skip


def add(tx: Transaction, policy: Policy) -> None:
    tx.connection.execute(policies.insert().values(**_row(policy)))
    tags.index(tx, TagKind.POLICY, policy.project_id, policy.id, policy.tags)
    _bind(tx, policy)


def update(tx: Transaction, policy: Policy) -> None:
    """Let the row be what the policy is now."""
    tx.connection.execute(policies.update().where(policies.c.id == policy.id).values(**_row(policy)))
    tx.connection.execute(policy_servers.delete().where(policy_servers.c.policy_id == policy.id))
    tags.index(tx, TagKind.POLICY, policy.project_id, policy.id, policy.tags)
    _bind(tx, policy)


def delete(tx: Transaction, policy: Policy) -> None:
    """Take the policy away; its backups stay."""
    for table in (policy_servers, due_times):
        tx.connection.execute(table.delete().where(table.c.policy_id == policy.id))
    tags.index(tx, TagKind.POLICY, policy.project_id, policy.id, ())
    tx.connection.execute(policies.delete().where(policies.c.id == policy.id))


def policy(tx: Transaction, project_id: ProjectId, id: str) -> Policy:
    """Return a policy of the project.  Raises NotFound."""
    query = sa.select(policies).where(policies.c.id == canonical_id(id), policies.c.project_id == project_id)
    row = tx.connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"policy {id[:64]} does not exist", code=Code.POLICY_NOT_FOUND)
    return policy_of(row)


def find(tx: Transaction, id: str) -> Policy | None:
    """Return the policy of that id, whatever its project; None if there is none.  It stays so until the end."""
    row = tx.connection.execute(sa.select(policies).where(policies.c.id == id).with_for_update()).one_or_none()
    return None if row is None else policy_of(row)


def list_policies(tx: Transaction, project_id: ProjectId | None, name: str | None, window: Window) -> Page[Policy]:
    """Return a page of a project's policies, of all projects' if *project_id* is None."""
    where = [] if name is None else [policies.c.name == name]
    found, more = listing.rows(tx, policies, project_id, where, window, _SORTS)
    return Page(tuple(map(policy_of, found)), more)


def of_project(tx: Transaction, project_id: ProjectId) -> list[Policy]:
    """Return all policies of a project, oldest first."""
    query = sa.select(policies).where(policies.c.project_id == project_id)
    return [policy_of(row) for row in tx.connection.execute(query.order_by(policies.c.created_at, policies.c.id))]


def scheduled(tx: Transaction) -> list[Policy]:
    """Return the policies of all projects whose schedule runs."""
    query = sa.select(policies).where(policies.c.enabled.is_(True)).order_by(policies.c.id)
    return [policy_of(row) for row in tx.connection.execute(query)]


def to_retain(tx: Transaction, before: datetime) -> list[Policy]:
    """Return the policies of which it was last looked before that moment, or which have made something since.

    Also those that were looked at later than now, by a clock that has been set back.
    """
    made = sa.exists().where(
        backups.c.policy_id == policies.c.id,
        backups.c.scheduled_at.is_not(None),
        backups.c.finished_at > policies.c.retained_at,
        backups.c.finished_at <= tx.now,
    )
    at = policies.c.retained_at
    query = sa.select(policies).where(sa.or_(at.is_(None), at <= before, at > tx.now, made)).order_by(policies.c.id)
    return [policy_of(row) for row in tx.connection.execute(query)]


def forget_times_before(tx: Transaction, moment: datetime) -> None:
    """Forget that times before that were dealt with."""
    tx.connection.execute(due_times.delete().where(due_times.c.due_at < moment))


def tagged(tx: Transaction, project_id: ProjectId, wanted: TagSearch, limit: int, offset: int) -> tuple[Policy, ...]:
    """Return a page of the policies that *wanted* finds, newest first."""
    query = _tagged(sa.select(policies), project_id, wanted)
    query = query.order_by(policies.c.created_at.desc(), policies.c.id.desc()).limit(limit).offset(offset)
    return tuple(map(policy_of, tx.connection.execute(query)))


def count_tagged(tx: Transaction, project_id: ProjectId, wanted: TagSearch) -> int:
    query = _tagged(sa.select(sa.func.count()).select_from(policies), project_id, wanted)
    return int(tx.connection.scalar(query) or 0)


def _tagged(query: sa.Select[Any], project_id: ProjectId, wanted: TagSearch) -> sa.Select[Any]:
    found = tags.conditions(TagKind.POLICY, project_id, policies.c.id, policies.c.name, wanted)
    return query.where(policies.c.project_id == project_id, *found)


def count(tx: Transaction, project_id: ProjectId) -> int:
    query = sa.select(sa.func.count()).select_from(policies).where(policies.c.project_id == project_id)
    return int(tx.connection.scalar(query) or 0)


def named(tx: Transaction, project_id: ProjectId, name: str) -> str | None:
    """Return the id of the project's policy of that name, None if there is none."""
    query = sa.select(policies.c.id).where(policies.c.project_id == project_id, policies.c.name == name)
    found: str | None = tx.connection.scalar(query)
    return found


def bound(tx: Transaction, project_id: ProjectId) -> dict[str, str]:
    """Return the policy that lists a server, by the server's canonical id."""
    query = sa.select(policy_servers).where(policy_servers.c.project_id == project_id)
    return {row.server_key: row.policy_id for row in tx.connection.execute(query)}


def run_under_way(tx: Transaction, id: str) -> Checkpoint | None:
    """Return a run of the policy that is going on, None if there is none."""
    query = sa.select(checkpoints).where(
        checkpoints.c.plan_id == id, checkpoints.c.state == BackupState.PROTECTING
    )
    row = tx.connection.execute(query.limit(1)).one_or_none()
    return None if row is None else checkpoint_of(row)


def consider(tx: Transaction, id: str, until: datetime) -> None:
    """Note that what the schedule says up to then is dealt with."""
    tx.connection.execute(policies.update().where(policies.c.id == id).values(considered_until=until))


def deal_with(tx: Transaction, id: str, due_at: datetime) -> bool:
    """Take a time of the schedule to deal with it; False if somebody has, ever."""
    try:
        with tx.connection.begin_nested():
            tx.connection.execute(due_times.insert().values(policy_id=id, due_at=due_at, dealt_at=tx.now))
    except sa.exc.IntegrityError:
        return False
    return True


def retained(tx: Transaction, id: str) -> None:
    """Note that it was looked now what is to be kept."""
    tx.connection.execute(policies.update().where(policies.c.id == id).values(retained_at=tx.now))


def _bind(tx: Transaction, policy: Policy) -> None:
    for server in policy.servers:
        row = {"project_id": policy.project_id, "server_key": canonical_id(server.id), "policy_id": policy.id}
        tx.connection.execute(policy_servers.insert().values(**row))


def _row(policy: Policy) -> dict[str, Any]:
    return {
        **{name: getattr(policy, name) for name in _SAME_COLUMNS},
        "servers": plain(policy.servers),
        "selection": plain(policy.selection) or {},
        "tags": plain(policy.tags),
        "keep": plain(policy.keep),
    }


def policy_of(row: sa.Row[Any]) -> Policy:
    """Return the policy of a row."""
    return Policy(
        **{name: getattr(row, name) for name in _SAME_COLUMNS},
        servers=tuple(build(ProtectedServer, server) for server in row.servers),
        selection=build(Selection, row.selection) if row.selection else None,
        tags=tuple(build(Tag, tag) for tag in row.tags),
        keep=build(Keep, known(Keep, row.keep)),
    )
