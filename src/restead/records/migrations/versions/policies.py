"""Policies, the times they have dealt with, and what runs are limited by."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "policies"
down_revision = "operations"

_TEXT = ("project_id", "name", "description", "operation_id", "operation_name", "operation_description", "trigger_id",
         "pattern")  # fmt: skip


def upgrade() -> None:
    op.add_column("backups", sa.Column("policy_id", sa.Text, nullable=True))
    op.add_column("backups", _time("scheduled_at", null=True))
    op.create_index("ix_backups_policy_id_scheduled_at", "backups", ["policy_id", "scheduled_at"])
    for name in ("driver", "host"):
        op.add_column("runs", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("runs", _time("not_after", null=True))
    columns: list[Any] = [sa.Column("id", sa.Text, nullable=False)]
    columns += [sa.Column(name, sa.Text, nullable=False) for name in _TEXT]
    columns += [sa.Column(name, sa.JSON, nullable=False)
                for name in ("parameters", "servers", "selection", "tags", "keep")]  # fmt: skip
    columns += [_time(name) for name in ("created_at", "updated_at", "start_time", "considered_until")]
    columns += [_time("retained_at", null=True), sa.Column("enabled", sa.Boolean, nullable=False)]
    op.create_table("policies", *columns, sa.PrimaryKeyConstraint("id", name="pk_policies"))
    op.create_index("ix_policies_project_id_created_at_id", "policies", ["project_id", "created_at", "id"])
    op.create_index("uq_policies_name", "policies", ["project_id", "name"], unique=True)
    op.create_index("ix_policies_enabled", "policies", ["enabled"])
    op.create_table(
        "policy_servers",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("server_key", sa.Text, nullable=False),
        sa.Column("policy_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "server_key", name="pk_policy_servers"),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name="fk_policy_servers_policy_id"),
    )
    op.create_index("ix_policy_servers_policy_id", "policy_servers", ["policy_id"])
    op.create_table(
        "due_times",
        sa.Column("policy_id", sa.Text, nullable=False),
        _time("due_at"),
        _time("dealt_at"),
        sa.PrimaryKeyConstraint("policy_id", "due_at", name="pk_due_times"),
    )


def _time(name: str, *, null: bool = False) -> Any:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)
