"""What every test of the API stands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.api.front import Front


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No log lines among the results; `test_logs.py` looks at them."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()],
                        logger_factory=structlog.ReturnLoggerFactory())  # fmt: skip
    yield
    structlog.reset_defaults()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """The API of a service of its own."""
    front = Front(tmp_path)
    yield front
    front.close()


@pytest.fixture(scope="module")
def shared_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The API of a service that the tests of one file share: for those that leave nothing behind."""
    front = Front(tmp_path_factory.mktemp("front"))
    yield front
    front.close()
