"""Indexes that lists of many backups are read from, and what backups are sorted and counted by as columns."""

import sqlalchemy as sa
from alembic import op

revision = "listing"
down_revision = "target_identity"

_NEVER = "1970-01-01 00:00:00.000000"
_STORED = "SELECT coalesce(sum(disks.stored), 0) FROM volume_backups AS disks WHERE disks.backup_id = backups.id"


def upgrade() -> None:
    op.add_column("backups", sa.Column("stored", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column(
        "backups",
        sa.Column("protected_or_never", sa.DateTime(timezone=True), nullable=False, server_default=_NEVER),
    )
    op.execute(f"UPDATE backups SET stored = ({_STORED})")
    op.execute("UPDATE backups SET protected_or_never = protected_at WHERE protected_at IS NOT NULL")
    for table, columns in (
        ("backups", "project_id created_at id"),
        ("backups", "project_id protected_at id"),
        ("backups", "project_id state created_at"),
        ("backups", "project_id server_key created_at"),
        ("checkpoints", "project_id state created_at"),
    ):
        op.drop_index(_name(table, columns), table)
    for table, columns in (
        ("backups", "created_at id"),
        ("backups", "server_key created_at id"),
        ("backups", "project_id id"),
        ("backups", "project_id protected_or_never id"),
        ("backups", "project_id state id"),
        ("backups", "project_id state created_at id"),
        ("backups", "project_id server_key created_at id"),
        ("checkpoints", "created_at id"),
        ("checkpoints", "project_id id"),
        ("checkpoints", "project_id state id"),
        ("checkpoints", "project_id state created_at id"),
        ("checkpoints", "project_id plan_id created_at id"),
    ):
        op.create_index(_name(table, columns), table, columns.split())
    searched = "state name_folded server_name_folded zone private_address public_address checkpoint_id server_key"
    op.create_index("ix_backups_listing", "backups", ["project_id", "created_at", "id", *searched.split()])
    op.create_index("ix_backups_usage", "backups", ["project_id", "state", "safety_of", "stored"])


def _name(table: str, columns: str) -> str:
    return f"ix_{table}_{columns.replace(' ', '_')}"
