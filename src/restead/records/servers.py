"""What is under way on a server.  The servers themselves are their cloud's; there are no rows of them."""

import sqlalchemy as sa

from restead.domain.ids import ProjectId, ServerId, canonical_id
from restead.domain.states import BackupState, RestoreState
from restead.records.database import Transaction
from restead.records.tables import backups, restores


def under_way(tx: Transaction, project_id: ProjectId, server_id: ServerId) -> str | None:
    """Return what is under way on a server, for people ("restore 1f…"), or None.

    In one transaction with the insert that follows, this is the reservation: nothing can begin in between.
    """
    key = canonical_id(server_id)
    for what, table, state in (
        ("restore", restores, RestoreState.IN_PROGRESS.value),
        ("backup", backups, BackupState.PROTECTING.value),
    ):
        found = tx.connection.scalar(
            sa.select(table.c.id).where(
                table.c.project_id == project_id, table.c.server_key == key, table.c.state == state
            )
        )
        if found is not None:
            return f"{what} {found} is under way"
    return None
