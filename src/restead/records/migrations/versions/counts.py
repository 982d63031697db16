"""How many backups there are need not be counted any more; filled from the rows."""

import sqlalchemy as sa
from alembic import op

revision = "counts"
down_revision = "notices"


def upgrade() -> None:
    op.create_table(
        "backup_counts",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "state", name="pk_backup_counts"),
    )
    op.execute(
        "INSERT INTO backup_counts (project_id, state, number) "
        "SELECT project_id, state, count(*) FROM backups WHERE state <> 'deleted' GROUP BY project_id, state"
    )
