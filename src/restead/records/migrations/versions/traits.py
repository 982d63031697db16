"""What stands in which project's backups; filled from the rows."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "traits"
down_revision = "found_by_tags"

_ROWS = """
    SELECT DISTINCT project_id, name_folded, server_name_folded, zone, private_address, public_address
    FROM backups WHERE state <> 'deleted'
"""


def upgrade() -> None:
    table = op.create_table(
        "backup_traits",
        sa.Column("trait", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("trait", "project_id", name="pk_backup_traits"),
    )
    rows = op.get_bind().execute(sa.text(_ROWS), execution_options={"yield_per": 5000})
    found = sorted({(project, trait) for project, *texts in rows for trait in _traits(*texts)})
    if found:
        op.bulk_insert(table, [{"project_id": project, "trait": trait} for project, trait in found])


def _traits(name: str, server: str, zone: str, *addresses: str) -> Iterator[str]:
    for of, text in (("name", name), ("server", server)):
        yield from (f"{of} {text[at : at + 3]}" for at in range(len(text) - 2))
    yield f"zone {zone}"
    yield from (f"address {each}" for each in addresses)
