"""Tags, to be found by; filled from the rows of backups and policies."""

import sqlalchemy as sa
from alembic import op

revision = "tags"
down_revision = "listing"

_COLUMNS = ("kind", "subject_id", "key", "project_id", "value")


def upgrade() -> None:
    tags = op.create_table(
        "tags",
        *(sa.Column(name, sa.Text, nullable=False) for name in _COLUMNS),
        sa.PrimaryKeyConstraint("kind", "subject_id", "key", name="pk_tags"),
    )
    op.create_index("ix_tags_project_id_kind_key_value", "tags", ["project_id", "kind", "key", "value"])
    for kind, table, where in (
        ("csbs_backup", "backups", "state <> 'deleted'"),
        ("csbs_backup_policy", "policies", "1 = 1"),
    ):
        old = sa.table(table, sa.column("id"), sa.column("project_id"), sa.column("tags", sa.JSON))
        for row in op.get_bind().execute(sa.select(old).where(sa.text(where))).all():
            for tag in row.tags:
                values = (kind, row.id, tag["key"], row.project_id, tag["value"])
                op.execute(tags.insert().values(**dict(zip(_COLUMNS, values, strict=True))))
