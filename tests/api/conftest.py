"""What every test of the API stands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.front import Front


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
