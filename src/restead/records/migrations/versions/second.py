"""Restores that can be undone, followed, cancelled and slowed down."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _add("backups", "safety_of", sa.Text)
    _add("restores", "safety_checkpoint_id", sa.Text)
    _add("restores", "undo_of", sa.Text)
    _add("restores", "session", sa.BigInteger)
    _add("restores", "throttle", sa.BigInteger)
    # A restore that is under way is told anew from its beginning, as the release that began it would have done.
    _add("restores", "phase", sa.Text, "accepted")
    _add("restores", "cancelled", sa.Boolean, sa.false())
    _add("restore_volumes", "mark", sa.BigInteger, "0")
    op.execute("UPDATE restores SET phase = 'ended' WHERE state <> 'in_progress'")
    op.create_index("ix_backups_safety_of", "backups", ["safety_of"])
    op.create_index("ix_restores_safety_checkpoint_id", "restores", ["safety_checkpoint_id"])
    op.create_table(
        "throttles",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("bytes_per_second", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_throttles"),
    )


def _add(table: str, column: str, kind: Any, default: Any = None) -> None:
    """Add a column; with a *default* for the rows that are there it cannot be null."""
    op.add_column(table, sa.Column(column, kind, nullable=default is None, server_default=default))
