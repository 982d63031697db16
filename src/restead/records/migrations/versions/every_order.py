"""Lists have an index for each of their orders and conditions, and what is due is found without a look at all rows."""

from alembic import op

revision = "every_order"
down_revision = "traits"

_GONE = {
    "backups": ("policy_id scheduled_at",),
    "restores": ("project_id created_at id", "project_id state created_at", "project_id server_key created_at"),
    "operations": ("project_id created_at id", "project_id state created_at", "project_id server_key created_at"),
}
_NEW = {
    "checkpoints": ("state created_at id", "state id"),
    "backups": (
        "policy_id finished_at scheduled_at", "updated_at id", "protected_or_never id", "name id", "state id",
    ),
    "restores": (
        "project_id id", "project_id state id", "project_id state created_at id", "project_id server_key created_at id",
        "created_at id", "updated_at id", "state created_at id", "state id", "server_key created_at id",
    ),
    "operations": (
        "project_id id", "project_id state id", "project_id state created_at id", "project_id kind created_at id",
        "project_id server_key created_at id", "created_at id", "updated_at id", "state created_at id", "state id",
        "kind created_at id", "server_key created_at id",
    ),
    "due_times": ("due_at",),
}  # fmt: skip
_LISTING = {
    "backups": "state name_folded server_name_folded zone private_address public_address checkpoint_id server_key name",
    "restores": "checkpoint_id backup_id",
    "operations": "checkpoint_id plan_id restore_id",
}


def upgrade() -> None:
    for table, indexes in _GONE.items():
        for columns in indexes:
            op.drop_index(_name(table, columns), table)
    for table, indexes in _NEW.items():
        for columns in indexes:
            op.create_index(_name(table, columns), table, columns.split())
    op.drop_index("ix_backups_listing", "backups")
    for table, columns in _LISTING.items():
        op.create_index(f"ix_{table}_listing", table, ["project_id", "created_at", "id", *columns.split()])


def _name(table: str, columns: str) -> str:
    return f"ix_{table}_{columns.replace(' ', '_')}"
