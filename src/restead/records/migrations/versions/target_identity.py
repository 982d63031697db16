"""Which disk a restore has compared, so that another one in its place is told from it."""

import sqlalchemy as sa
from alembic import op

revision = "target_identity"
down_revision = "quotas"


def upgrade() -> None:
    op.add_column("restore_volumes", sa.Column("identity", sa.Text, nullable=False, server_default=""))
