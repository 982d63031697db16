"""What only the rows know, as JSON that a sealed copy keeps; and rows made of it again.

The bytes of backups, and what each was called at first, stand in the repository itself; states and stories of runs
are not kept.  Readers ignore what they do not know, so parts and members may be added.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from restead.domain.backup import Backup
from restead.domain.ids import BackupId, ProjectId, canonical_id
from restead.domain.policy import Keep, Policy
from restead.domain.states import BackupState
from restead.domain.token import Token
from restead.records import counts, quotas
from restead.records import policies as policy_rows
from restead.records.backup_rows import backups_of
from restead.records.checkpoints import checkpoint_of
from restead.records.database import Transaction
from restead.records.encoding import build, known, plain
from restead.records.policies import policy_of
from restead.records.tables import backups, checkpoints, policies, throttles, tokens

Json = dict[str, Any]

_KEPT = (BackupState.AVAILABLE, BackupState.RESTORING)
# What the repository says itself, and what is true for a moment only.
_NOT_OF_BACKUP = ("server", "state", "updated_at", "progress", "failed_operation", "failure", "held_until")
_NOT_OF_POLICY = ("considered_until", "retained_at")
_NOT_OF_VOLUME = ("state", "manifest")
_TOGETHER = 500  # rows that are fetched at once, and backups whose disks are asked for together
_IN_PARTS = {"yield_per": _TOGETHER}


def fingerprint(tx: Transaction) -> Json:
    """Return little that changes whenever `parts` may have changed."""
    count, made, revoked = sa.func.count(), sa.func.max(tokens.c.created_at), sa.func.count(tokens.c.revoked_at)
    found = [
        counts.number(tx, None),  # not counted, and asked for apart: it is looked at all the time
        tx.connection.scalar(sa.select(sa.func.max(backups.c.updated_at))),
        *tx.connection.execute(sa.select(count, made, revoked).select_from(tokens)).one(),
    ]
    of_policies = sa.select(count, sa.func.max(policies.c.updated_at)).select_from(policies)
    found += tx.connection.execute(of_policies).one()
    return {"rows": [str(each) for each in found], "throttles": _throttles(tx), "quotas": _quotas(tx)}


def parts(tx: Transaction, besides: Collection[BackupId] = ()) -> Json:
    """Return all of it, by name; nothing of the backups *besides*, which may be very many."""
    kept = [_backup(backup) for backup in _backups(tx, besides)]
    return {
        "backups": kept,
        "checkpoints": _checkpoints(tx, sorted({each["checkpoint_id"] for each in kept})),
        "tokens": [
            {name: plain(value) for name, value in row._mapping.items()}
            for row in tx.connection.execute(sa.select(tokens).order_by(tokens.c.id))
        ],
        "throttles": _throttles(tx),
        "policies": [
            _without(plain(policy_of(row)), _NOT_OF_POLICY)
            for row in tx.connection.execute(sa.select(policies).order_by(policies.c.id))
        ],
        "quotas": _quotas(tx),
    }


def put_back(tx: Transaction, parts: Mapping[str, Any]) -> tuple[int, int]:
    """Insert tokens and throttles that no row has; return how many there were of each.  Repeatable.

    Raises:
        Damaged: they are not what `parts` returns.
    """
    there = set(tx.connection.scalars(sa.select(tokens.c.id)))
    missing = [_token(each) for each in parts.get("tokens", ()) if each["id"] not in there]
    named = set(tx.connection.scalars(sa.select(throttles.c.name)))
    slower = {name: rate for name, rate in parts.get("throttles", {}).items() if name not in named}
    for row in missing:
        tx.connection.execute(tokens.insert().values(**row))
    for name, rate in slower.items():
        tx.connection.execute(throttles.insert().values(name=name, bytes_per_second=rate))
    return len(missing), len(slower)


def put_back_policies(tx: Transaction, parts: Mapping[str, Any]) -> int:
    """Insert policies and quotas that no row has; return how many policies.  Repeatable.

    Their schedules go on from now.

    Raises:
        Damaged: they are not what `parts` returns.
    """
    own = quotas.own(tx)
    for project, (number, capacity) in parts.get("quotas", {}).items():
        if project not in own:
            quotas.set_limits(tx, ProjectId(project), number, capacity)
    there = set(tx.connection.scalars(sa.select(policies.c.id)))
    missing = [_policy(tx, each) for each in parts.get("policies", ()) if each["id"] not in there]
    for policy in missing:
        bound = policy_rows.bound(tx, policy.project_id)
        free = tuple(server for server in policy.servers if canonical_id(server.id) not in bound)
        policy_rows.add(tx, replace(policy, servers=free))
    return len(missing)


def _policy(tx: Transaction, kept: Json) -> Policy:
    keep = known(Keep, kept.get("keep", {}))
    return build(Policy, {**known(Policy, kept), "keep": keep, "considered_until": plain(tx.now)})


def _quotas(tx: Transaction) -> dict[str, list[int | None]]:
    return {project: list(limits) for project, limits in quotas.own(tx).items()}


def _token(kept: Json) -> Json:
    token = build(Token, known(Token, kept))
    return {**{name: getattr(token, name) for name in Token.__slots__}, "hash": str(kept["hash"])}


def _backups(tx: Transaction, besides: Collection[BackupId]) -> Iterator[Backup]:
    ids = sa.select(backups.c.id).where(backups.c.state.in_(_KEPT)).order_by(backups.c.id)
    for part in tx.connection.execute(ids, execution_options=_IN_PARTS).scalars().partitions():
        wanted = [id for id in part if id not in besides]
        if wanted:  # most rows may be besides, and what they hold takes long to be read
            rows = tx.connection.execute(sa.select(backups).where(backups.c.id.in_(wanted)).order_by(backups.c.id))
            yield from backups_of(tx, list(rows))


def _backup(backup: Backup) -> Json:
    volumes = [_without(plain(volume), _NOT_OF_VOLUME) for volume in backup.volumes]
    return _without(plain(backup), _NOT_OF_BACKUP) | {"volumes": volumes}


def _checkpoints(tx: Transaction, wanted: Sequence[str]) -> list[Json]:
    found = []
    for first in range(0, len(wanted), _TOGETHER):
        part = checkpoints.c.id.in_(wanted[first : first + _TOGETHER])
        rows = tx.connection.execute(sa.select(checkpoints).where(part).order_by(checkpoints.c.id))
        found += [_without(plain(checkpoint_of(row)), ("state", "updated_at")) for row in rows]
    return found


def _throttles(tx: Transaction) -> dict[str, int]:
    return {row.name: row.bytes_per_second for row in tx.connection.execute(sa.select(throttles))}


def _without(value: Json, names: tuple[str, ...]) -> Json:
    return {name: each for name, each in value.items() if name not in names}
