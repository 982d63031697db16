"""The operation log."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "operations"
down_revision = "guest_pause"

_TEXT = ("project_id", "kind", "state", "server_id", "server_key", "server_name", "backup_id", "backup_name",
         "request_id")  # fmt: skip
_TEXT_OR_NOT = ("checkpoint_id", "plan_id", "restore_id", "scheduled_operation_id", "failure_code", "failure_message")


def upgrade() -> None:
    columns: list[Any] = [sa.Column("id", sa.Text, nullable=False)]
    columns += [sa.Column(name, sa.Text, nullable=False) for name in _TEXT]
    columns += [sa.Column(name, sa.Text, nullable=True) for name in _TEXT_OR_NOT]
    columns += [_time("created_at"), _time("updated_at"), _time("started_at", null=True), _time("ended_at", null=True)]
    columns += [sa.Column("incremental", sa.Boolean, nullable=False)]
    op.create_table("operations", *columns, sa.PrimaryKeyConstraint("id", name="pk_operations"))
    for names in (
        ("project_id", "created_at", "id"),
        ("project_id", "updated_at", "id"),
        ("project_id", "state", "created_at"),
        ("project_id", "server_key", "created_at"),
        ("checkpoint_id",),
        ("plan_id", "created_at"),
        ("restore_id",),
    ):
        op.create_index(f"ix_operations_{'_'.join(names)}", "operations", list(names))


def _time(name: str, *, null: bool = False) -> Any:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)
