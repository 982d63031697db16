"""A house for each test, and no log lines between them."""

import pytest
from tests.lab.databases import NAMES, database
from tests.quiet_house import house, quiet

__all__ = ["database", "database_name", "house", "quiet"]

_LONG = {"postgresql": [pytest.mark.long]}  # by make test-long; make test tells stories on SQLite alone


@pytest.fixture(params=[pytest.param(name, marks=_LONG.get(name, [])) for name in NAMES])
def database_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
