"""What has a tag is found by an index alone."""

from alembic import op

revision = "found_by_tags"
down_revision = "counts"


def upgrade() -> None:
    columns = ["project_id", "kind", "key", "value"]
    op.create_index("ix_tags_project_id_kind_key_value_subject_id", "tags", [*columns, "subject_id"])
    op.drop_index("ix_tags_project_id_kind_key_value", "tags")
