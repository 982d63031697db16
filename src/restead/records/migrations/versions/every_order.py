"""Lists of all projects have an index for each of their orders, and what is due is found without a look at all rows."""

from alembic import op

revision = "every_order"
down_revision = "traits"

_NEW = {
    "checkpoints": ("state created_at id", "state id"),
    "backups": (
        "policy_id finished_at scheduled_at", "updated_at id", "protected_or_never id", "name id", "state id",
    ),
    "restores": (
        "project_id state id", "created_at id", "updated_at id", "state created_at id", "state id",
        "server_key created_at id",
    ),
    "operations": (
        "project_id state id", "created_at id", "updated_at id", "state created_at id", "state id",
        "kind created_at id", "server_key created_at id",
    ),
    "due_times": ("due_at",),
}  # fmt: skip


def upgrade() -> None:
    for table, indexes in _NEW.items():
        for columns in map(str.split, indexes):
            op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
    op.drop_index("ix_backups_policy_id_scheduled_at", "backups")
