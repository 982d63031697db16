"""A house for each test, and no log lines between them."""

from tests.lab.databases import database, database_name
from tests.quiet_house import house, quiet

__all__ = ["database", "database_name", "house", "quiet"]
