"""What every test of the API stands on."""

from collections.abc import Iterator

import pytest
import structlog
from tests.api.front import Front
from tests.lab.databases import database, database_name, shared_database, shared_database_name

__all__ = ["database", "database_name", "front", "shared_database", "shared_database_name", "shared_front"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No log lines among the results; `test_logs.py` looks at them."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()],
                        logger_factory=structlog.ReturnLoggerFactory())  # fmt: skip
    yield
    structlog.reset_defaults()


@pytest.fixture
def front(database: str) -> Iterator[Front]:
    """The API of a service of its own."""
    front = Front(database)
    yield front
    front.close()


@pytest.fixture(scope="module")
def shared_front(shared_database: str) -> Iterator[Front]:
    """The API of a service that the tests of one file share: for those that leave nothing behind."""
    front = Front(shared_database)
    yield front
    front.close()
