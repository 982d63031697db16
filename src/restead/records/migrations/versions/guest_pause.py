"""For how long a guest stood still so that its disks could be read at one moment."""

import sqlalchemy as sa
from alembic import op

revision = "guest_pause"
down_revision = "holds"


def upgrade() -> None:
    op.add_column("backups", sa.Column("guest_pause_us", sa.BigInteger, nullable=True))
