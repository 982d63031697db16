"""What a salvage gives up of each disk, and what verifications have found."""

import sqlalchemy as sa
from alembic import op

revision = "lost_ranges"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("restore_volumes", sa.Column("lost", sa.JSON, nullable=False, server_default="[]"))
