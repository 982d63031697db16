"""The audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "audit"
down_revision = "tags"


def upgrade() -> None:
    names = ("phase", "action", "subject", "user", "project_id", "address", "request_id", "outcome", "digest")
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in names),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
