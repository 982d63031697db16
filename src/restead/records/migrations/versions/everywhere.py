"""Conditions of lists over all projects are answered by an index alone."""

from alembic import op

revision = "everywhere"
down_revision = "audit"


def upgrade() -> None:
    conditions = ["state", "name_folded", "server_name_folded", "zone", "private_address", "public_address"]
    op.create_index("ix_backups_everywhere", "backups", ["created_at", "id", *conditions])
    op.drop_index("ix_backups_created_at_id", "backups")
