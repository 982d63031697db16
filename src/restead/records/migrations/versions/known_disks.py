"""What is known of disks without reading them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "known_disks",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("volume_key", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "volume_key", name="pk_known_disks"),
    )
