"""A part of a name is found by an index alone also where capital letters are told from small ones."""

from alembic import op

revision = "names_listed"
down_revision = "every_order"

_COLUMNS = "project_id created_at id state name_folded server_name_folded zone private_address public_address"


def upgrade() -> None:
    op.drop_index("ix_backups_listing", "backups")
    op.create_index("ix_backups_listing", "backups", [*_COLUMNS.split(), "checkpoint_id", "server_key", "name"])
