"""Brings tables up to this release's shape, by Alembic; imported when there is something to do."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from restead.domain.errors import InvalidRequest


def migrations() -> Config:
    """Return what Alembic has to know of them."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(connection: sa.Connection, stands: str | None) -> None:
    """Do all that is left to do from that shape on (None: no tables), in the transaction of *connection*.

    Raises:
        InvalidRequest: a newer release wrote the records.
    """
    config = migrations()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if stands is not None and stands not in known:
        raise InvalidRequest(f"the records have shape {stands}, which only a newer restead knows")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
