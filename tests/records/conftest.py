from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.records.rows import Clock

from restead.records import Records

_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(clock: Clock) -> Iterator[Records]:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        records = Records.open(f"sqlite:///{folder}/records.db", clock=clock)
        records.migrate()
        yield records
        records.close()
