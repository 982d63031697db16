"""The first shape."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT, _NUMBER, _BYTES, _FLAG, _JSON = sa.Text, sa.Integer, sa.BigInteger, sa.Boolean, sa.JSON
_TIME = sa.DateTime(timezone=True)
_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _checkpoints()
    _runs()
    _tokens()
    _backups()
    _events()
    _steps()
    _restores()
    _volume_backups()
    _restore_volumes()


def _columns(kind: Any, names: str, *, null: bool = False) -> "list[sa.Column[object]]":
    return [sa.Column(name, kind, nullable=null) for name in names.split()]


def _index(table: str, columns: str, *, unique: bool = False) -> None:
    op.create_index(f"ix_{table}_{columns.replace(' ', '_')}", table, columns.split(), unique=unique)


def _only_one(name: str, table: str, columns: str, state: str) -> None:
    where = sa.text(f"state = '{state}'")
    op.create_index(name, table, columns.split(), unique=True, sqlite_where=where, postgresql_where=where)


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        *_columns(_TEXT, "id project_id state plan_id plan_name"),
        *_columns(_TIME, "created_at updated_at"),
        *_columns(_JSON, "servers"),
        *_columns(_TEXT, "extra_info", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
    )
    _index("checkpoints", "plan_id")
    _index("checkpoints", "project_id created_at id")
    _index("checkpoints", "project_id state created_at")


def _runs() -> None:
    op.create_table(
        "runs",
        *_columns(_TEXT, "id kind subject project_id state owner"),
        *_columns(_TIME, "created_at updated_at"),
        *_columns(_NUMBER, "lease deaths"),
        *_columns(_TIME, "until", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    _index("runs", "project_id kind state")
    _index("runs", "state created_at")


def _tokens() -> None:
    op.create_table(
        "tokens",
        *_columns(_TEXT, "id hash project_id role user ending"),
        *_columns(_TIME, "created_at"),
        *_columns(_TIME, "expires_at revoked_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    _index("tokens", "hash", unique=True)
    _index("tokens", "project_id created_at")


def _backups() -> None:
    op.create_table(
        "backups",
        *_columns(
            _TEXT,
            "id checkpoint_id project_id state name name_folded description server_key "
            "server_name_folded zone private_address public_address run_id consistency_wanted "
            "consistency failed_operation",
        ),
        *_columns(_TIME, "created_at updated_at"),
        *_columns(_TIME, "protected_at finished_at", null=True),
        *_columns(_JSON, "server excluded tags"),
        *_columns(_FLAG, "full auto_trigger"),
        *_columns(_NUMBER, "progress"),
        *_columns(_TEXT, "failure_code failure_message", null=True),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name="fk_backups_checkpoint_id"),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
    )
    _index("backups", "checkpoint_id")
    _index("backups", "project_id created_at id")
    _index("backups", "project_id name id")
    _index("backups", "project_id protected_at id")
    _only_one("uq_backups_under_way", "backups", "project_id server_key", "protecting")
    _index("backups", "project_id server_key created_at")
    _index("backups", "project_id state created_at")
    _index("backups", "project_id updated_at id")


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _SERIAL, nullable=False, autoincrement=True),
        *_columns(_TEXT, "run_id kind subject"),
        *_columns(_TIME, "at"),
        *_columns(_JSON, "numbers"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_events_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    _index("events", "run_id id")


def _steps() -> None:
    op.create_table(
        "steps",
        *_columns(_TEXT, "run_id name"),
        *_columns(_JSON, "result"),
        *_columns(_TIME, "finished_at"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_steps_run_id"),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_steps"),
    )


def _restores() -> None:
    op.create_table(
        "restores",
        *_columns(_TEXT, "id project_id state checkpoint_id backup_id server_key run_id server_reason"),
        *_columns(_TIME, "created_at updated_at"),
        *_columns(_TIME, "finished_at", null=True),
        *_columns(_JSON, "request plan stats"),
        *_columns(_NUMBER, "progress"),
        *_columns(_TEXT, "failure_code failure_message", null=True),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name="fk_restores_backup_id"),
        sa.PrimaryKeyConstraint("id", name="pk_restores"),
    )
    _index("restores", "backup_id")
    _index("restores", "checkpoint_id")
    _index("restores", "project_id created_at id")
    _only_one("uq_restores_under_way", "restores", "project_id server_key", "in_progress")
    _index("restores", "project_id server_key created_at")
    _index("restores", "project_id state created_at")
    _index("restores", "project_id updated_at id")


def _volume_backups() -> None:
    op.create_table(
        "volume_backups",
        *_columns(_TEXT, "id backup_id name state volume_id volume_key volume_name"),
        *_columns(_NUMBER, "ordinal"),
        *_columns(_BYTES, "size stored read bytes_per_second"),
        *_columns(_FLAG, "bootable incremental"),
        *_columns(_TEXT, "snapshot_id manifest", null=True),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name="fk_volume_backups_backup_id"),
        sa.PrimaryKeyConstraint("id", name="pk_volume_backups"),
    )
    _index("volume_backups", "backup_id ordinal")
    _index("volume_backups", "volume_key")


def _restore_volumes() -> None:
    op.create_table(
        "restore_volumes",
        *_columns(_TEXT, "restore_id volume_backup_id volume_id outcome reason"),
        *_columns(_NUMBER, "ordinal progress"),
        *_columns(_BYTES, "size target_size"),
        *_columns(_JSON, "ranges"),
        sa.ForeignKeyConstraint(["restore_id"], ["restores.id"], name="fk_restore_volumes_restore_id"),
        sa.PrimaryKeyConstraint("restore_id", "ordinal", name="pk_restore_volumes"),
    )
