"""A house for each test, and no log lines between them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog
from tests.house import House

_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=_no_logger)
    yield
    structlog.reset_defaults()


def _no_logger(*_: object) -> structlog.testing.CapturingLogger:
    return structlog.testing.CapturingLogger()


@pytest.fixture
def house(database: str) -> Iterator[House]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        house = House(Path(folder), database=database)
        yield house
        house.close()
