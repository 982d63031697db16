"""What single projects may keep."""

import sqlalchemy as sa
from alembic import op

revision = "quotas"
down_revision = "policies"


def upgrade() -> None:
    op.create_table(
        "project_quotas",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("backups", sa.BigInteger, nullable=True),
        sa.Column("capacity", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("project_id", name="pk_project_quotas"),
    )
