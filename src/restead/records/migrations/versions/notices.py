"""What operators are told."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "notices"
down_revision = "everywhere"


def upgrade() -> None:
    op.create_table(
        "notices",
        *_texts("id", "kind", "project_id"), _bytes("number"), _time("at"),
        sa.Column("facts", sa.JSON, nullable=False), sa.Column("routed", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )  # fmt: skip
    op.create_index("ix_notices_number", "notices", ["number"], unique=True)
    op.create_index("ix_notices_routed_number", "notices", ["routed", "number"])
    op.create_table(
        "deliveries",
        *_texts("id", "notice_id", "recipient", "state", "answer", "claim"), _bytes("number"), _time("created_at"),
        _time("updated_at"), _time("next_at", null=True), _time("until", null=True),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name="fk_deliveries_notice_id"),
    )  # fmt: skip
    op.create_index("uq_deliveries_notice", "deliveries", ["notice_id", "recipient"], unique=True)
    for names in (("state", "created_at", "id"), ("recipient", "state", "number"), ("created_at", "id")):
        op.create_index(f"ix_deliveries_{'_'.join(names)}", "deliveries", list(names))
    op.create_table(
        "troubles",
        *_texts("name"), sa.Column("bad", sa.Integer, nullable=False), _time("since"),
        sa.PrimaryKeyConstraint("name", name="pk_troubles"),
    )  # fmt: skip


def _texts(*names: str) -> list[Any]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _bytes(name: str) -> Any:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _time(name: str, *, null: bool = False) -> Any:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)
