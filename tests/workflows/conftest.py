"""Houses for stories."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.house import House

_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def house() -> Iterator[House]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        house = House(Path(folder))
        yield house
        house.close()
