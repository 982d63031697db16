from collections.abc import Iterator

import pytest
from tests.lab.databases import database, database_name
from tests.records.rows import Clock

from restead.records import Records

__all__ = ["database", "database_name"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(clock: Clock, database: str) -> Iterator[Records]:
    records = Records.open(database, clock=clock)
    yield records
    records.close()
