"""Holds on backups, and what the service remembers of itself."""

import sqlalchemy as sa
from alembic import op

revision = "holds"
down_revision = "lost_ranges"


def upgrade() -> None:
    op.add_column("backups", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_backups_held_until", "backups", ["held_until"])
    op.create_table(
        "remembered",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_remembered"),
    )
