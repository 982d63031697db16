"""What a salvage gives up of each disk, and what verifications have found."""

import sqlalchemy as sa
from alembic import op

revision = "lost_ranges"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("restore_volumes", sa.Column("lost", sa.JSON, nullable=False, server_default="[]"))
    op.create_table(
        "verifications",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("depth", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read", sa.BigInteger, nullable=False),
        sa.Column("objects", sa.Integer, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("disks", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verifications"),
    )
    op.create_index("ix_verifications_started_at", "verifications", ["started_at"])
