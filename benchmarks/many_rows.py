"""Made-up rows of a busy service: backups by policies in many projects, and what the operation log tells of them.

One backup and its restore are written as the service writes them; the database then makes as many of them as are
wanted, each with names, times, states and servers of its own.  Every tenth backup was restored.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from restead.domain.backup import Backup, Checkpoint, ProtectedServer, Tag, VolumeBackup
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ManifestId,
    ProjectId,
    RestoreId,
    RunId,
    ServerId,
    VolumeBackupId,
    VolumeId,
)
from restead.domain.operation import Operation
from restead.domain.policy import Keep, Policy
from restead.domain.restore import (
    Mapping,
    PlannedVolume,
    Restore,
    RestorePlan,
    RestoreRequest,
    VolumeRestore,
)
from restead.domain.run import RunKind
from restead.domain.server import Server, ServerStatus, Volume
from restead.domain.states import BackupState, OperationState, RestorePhase, RestoreState, VolumeOutcome
from restead.records import Records, Transaction, traits
from restead.records import backups as backup_rows
from restead.records import checkpoints as checkpoint_rows
from restead.records import operations as operation_rows
from restead.records import policies as policy_rows
from restead.records import restores as restore_rows
from restead.records.tables import (
    backup_counts,
    backup_traits,
    backups,
    checkpoints,
    metadata,
    operations,
    restore_volumes,
    restores,
    tags,
    volume_backups,
)

PROJECTS = 200
_ONE = BackupId("template")
_PART = 50_000  # rows made by one statement
_AT = datetime(2023, 1, 1, tzinfo=UTC)

# What is a row's own, by table and column, as SQL over its number i; ids come in no order.  {hex} is put in below.
_SCATTERED = "{hex} || '-0000-4000-8000-' || substr('000000000000' || i, -12)"
_PROJECT, _SERVER, _POLICIES = "'project-' || (i % 200)", "((i / 200) % 25)", 5
_POLICY = f"'plan-' || ((i / 200) % {_POLICIES}) || '-of-' || (i % 200)"
_SERVER_KEY = f"'server-' || {_SERVER} || '-of-' || (i % 200)"
_STATE = "CASE (i / 200) % 50 WHEN 9 THEN 'error' ELSE 'available' END"
_STAGE, _TEAM = "'stage-' || ((i / 200) % 3)", f"'team-' || {_SERVER}"
_OWN: dict[sa.Table, dict[str, str]] = {
    checkpoints: {
        "id": f"'c-' || {_SCATTERED}", "project_id": _PROJECT, "created_at": "{time}", "updated_at": "{time}",
        "state": _STATE, "plan_id": _POLICY,
    },
    backups: {
        "id": _SCATTERED, "checkpoint_id": f"'c-' || {_SCATTERED}", "project_id": _PROJECT, "created_at": "{time}",
        "updated_at": "{time}", "protected_at": "{time}", "protected_or_never": "{time}", "finished_at": "{time}",
        "state": _STATE, "name": f"'nightly-' || ((i * 7919) % 1000) || '-' || {_SERVER}",
        "name_folded": f"'nightly-' || ((i * 7919) % 1000) || '-' || {_SERVER}",
        "server_key": _SERVER_KEY, "policy_id": _POLICY, "scheduled_at": "{time}",
        "server_name_folded": f"'web-' || {_SERVER} || '.example.org'", "zone": "'zone-' || ((i / 200) % 4)",
        "private_address": f"'10.0.' || (i % 200) || '.' || {_SERVER}", "run_id": "'run-' || i",
        "stored": "(i * 7919) % 1073741824",
        "tags": f"('[{{\"key\": \"stage\", \"value\": \"' || {_STAGE} || '\"}}, "
                f"{{\"key\": \"team\", \"value\": \"' || {_TEAM} || '\"}}]'){{as_json}}",
    },
    tags: {
        "subject_id": _SCATTERED, "project_id": _PROJECT,
        "value": f"CASE one.key WHEN 'stage' THEN {_STAGE} ELSE {_TEAM} END",
    },
    volume_backups: {
        "id": f"'v-' || {_SCATTERED}", "backup_id": _SCATTERED, "state": _STATE, "manifest": "i || '.1'",
        "volume_key": f"'volume-' || {_SERVER} || '-of-' || (i % 200)", "stored": "(i * 7919) % 1073741824",
    },
    operations: {
        "id": "'run-' || i", "project_id": _PROJECT, "created_at": "{time}", "updated_at": "{time}",
        "state": "CASE (i / 200) % 50 WHEN 9 THEN 'failed' ELSE 'success' END", "plan_id": _POLICY,
        "checkpoint_id": f"'c-' || {_SCATTERED}", "server_key": _SERVER_KEY, "backup_id": _SCATTERED,
    },
    restores: {
        "id": f"'r-' || {_SCATTERED}", "project_id": _PROJECT, "created_at": "{time}", "updated_at": "{time}",
        "state": "CASE (i / 2000) % 5 WHEN 3 THEN 'fail' ELSE 'success' END", "checkpoint_id": f"'c-' || {_SCATTERED}",
        "backup_id": _SCATTERED, "server_key": _SERVER_KEY, "run_id": "'restored-' || i",
    },
    restore_volumes: {"restore_id": f"'r-' || {_SCATTERED}"},
}  # fmt: skip
_TENTH = "AND (i / 200) % 10 = 0"  # of each project's backups
_OF_ALL: dict[sa.Table, str] = {restores: _TENTH, restore_volumes: _TENTH}
_OF_ONE = {  # where the rows of the one backup are found
    checkpoints: ("id", f"c-{_ONE}"), backups: ("id", _ONE), tags: ("subject_id", _ONE),
    volume_backups: ("backup_id", _ONE), operations: ("id", "run"), restores: ("id", f"r-{_ONE}"),
    restore_volumes: ("restore_id", f"r-{_ONE}"),
}  # fmt: skip
_SQLITE = {
    "as_json": "",
    "hex": "printf('%08x', (i * 2654435761) % 4294967296)",
    "time": "strftime('%Y-%m-%d %H:%M:%S', 1672531200 + i * 94608000 / {count}, 'unixepoch') "
    "|| printf('.%06d', i % 1000000)",
}
_POSTGRES = {
    "as_json": "::json",
    "hex": "lpad(to_hex((i * 2654435761) % 4294967296), 8, '0')",
    "time": "to_timestamp(1672531200 + i * 94608000 / {count}) + (i % 1000000) * interval '1 microsecond'",
}


def project(number: int) -> ProjectId:
    return ProjectId(f"project-{number % PROJECTS}")


def fill(records: Records, count: int) -> list[str]:
    """Insert that many backups unless they are there; return the ids of those of project 7, oldest first."""
    with records.read() as tx:
        there = tx.connection.scalar(sa.select(sa.func.count()).select_from(backups))
    if there != count:
        assert there == 0, f"the database has {there} backups, neither none nor {count}"
        with records.begin() as tx:
            _insert(tx, count)
        _tidy(records)
    mine = sa.select(backups.c.id).where(backups.c.project_id == project(7)).order_by(backups.c.created_at)
    with records.read() as tx:
        return list(tx.connection.scalars(mine))


def _insert(tx: Transaction, count: int) -> None:
    ours = _POSTGRES if tx.connection.dialect.name == "postgresql" else _SQLITE
    if ours is _SQLITE:
        tx.connection.exec_driver_sql("PRAGMA cache_size = -1000000")
    _add_one(tx)
    indexes = [index for table in _OWN for index in table.indexes]
    for index in indexes:  # made at once afterwards, which takes a tenth of the time
        index.drop(tx.connection)
    for first in range(0, count, _PART):
        last = min(first + _PART, count) - 1
        for table, own in _OWN.items():
            values = {c.name: own.get(c.name, f'one."{c.name}"') for c in table.columns}
            names = ", ".join(f'"{name}"' for name in values)  # one of them, "full", is a word of SQL
            chosen = ", ".join(values.values())
            for name, value in ours.items():
                chosen = chosen.replace(f"{{{name}}}", value.replace("{count}", str(count)))
            column, one = _OF_ONE[table]
            text = (
                f"INSERT INTO {table.name} ({names}) WITH RECURSIVE n(i) AS "
                f"(SELECT CAST({first} AS bigint) UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
                f"SELECT {chosen} FROM n, {table.name} AS one WHERE one.{column} = '{one}' {_OF_ALL.get(table, '')}"
            )
            tx.connection.exec_driver_sql(text if ours is _SQLITE else text.replace("%", "%%"))
    for index in indexes:
        index.create(tx.connection)
    for table, (column, one) in reversed(_OF_ONE.items()):
        tx.connection.execute(table.delete().where(table.c[column] == one))
    _add_policies(tx)
    tx.connection.execute(backup_counts.delete())
    number = sa.select(backups.c.project_id, backups.c.state, sa.func.count()).group_by(
        backups.c.project_id, backups.c.state
    )
    tx.connection.execute(backup_counts.insert().from_select(["project_id", "state", "number"], number))
    found = [{"project_id": project, "trait": trait} for project, trait in traits.missing(tx)]
    tx.connection.execute(backup_traits.insert(), found)


def _add_one(tx: Transaction) -> None:
    disk = Volume(VolumeId("volume"), "system", 20 << 30, bootable=True)
    server = Server(
        ServerId("server"), ProjectId("p"), "web.example.org", ServerStatus.STOPPED, (disk,), zone="zone", memory=4096,
        cpus=2, description={"flavor": "m1.large", "image": "debian-12", "metadata": {"owner": "team", "tier": "gold"}},
    )  # fmt: skip
    state = BackupState.AVAILABLE
    kept = VolumeBackup(VolumeBackupId("v"), "system", state, disk.id, "system", disk.size, bootable=True,
                        manifest=ManifestId("m"))  # fmt: skip
    checkpoint = Checkpoint(CheckpointId(f"c-{_ONE}"), ProjectId("p"), state, _AT, _AT, "plan", "nightly",
                            (ProtectedServer(server.id, server.name),))  # fmt: skip
    checkpoint_rows.add(tx, checkpoint)
    backup_rows.add(tx, Backup(_ONE, checkpoint.id, ProjectId("p"), "name", "", state, server, _AT, _AT, RunId("run"),
                               (kept,), protected_at=_AT, finished_at=_AT, progress=100, auto_trigger=True,
                               tags=(Tag("stage", ""), Tag("team", ""))))  # fmt: skip
    operation_rows.add(tx, Operation(RunId("run"), ProjectId("p"), RunKind.BACKUP, OperationState.SUCCESS, _AT, _AT,
                                     _AT, _AT, server_name=server.name, backup_name="name"))  # fmt: skip
    request = RestoreRequest(checkpoint.id, _ONE, server.id, (Mapping(kept.id, disk.id),))
    plan = RestorePlan(_ONE, checkpoint.id, server, (PlannedVolume(kept, disk),), power_on=False)
    done = VolumeRestore(kept.id, disk.id, disk.size, disk.size, VolumeOutcome.RESTORED, progress=100)
    restore_rows.add(tx, Restore(RestoreId(f"r-{_ONE}"), ProjectId("p"), request, RunId("restored"),
                                 RestoreState.SUCCESS, _AT, _AT, (done,), finished_at=_AT, progress=100,
                                 phase=RestorePhase.ENDED), plan)  # fmt: skip


def _add_policies(tx: Transaction) -> None:
    """Those of which the backups say that they have made them; none is due for days."""
    yesterday = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")[tx.now.weekday() - 1]
    weekly = f"RRULE:FREQ=WEEKLY;BYDAY={yesterday};BYHOUR=0;BYMINUTE=0"
    for number in range(PROJECTS):
        for one in range(_POLICIES):
            id = f"plan-{one}-of-{number}"
            policy = Policy(id, project(number), f"plan-{one}", _AT, _AT, f"o-{id}", f"t-{id}", weekly, tx.now, tx.now,
                            keep=Keep(max_backups=-1), retained_at=tx.now)  # fmt: skip
            policy_rows.add(tx, policy)


def _tidy(records: Records) -> None:
    """What a server does by itself, in time."""
    if records.on_server:
        with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"VACUUM ANALYZE {table.name}")
