"""The databases that tests run on, each empty of rows and with all tables.

A test, or a fixture, that takes `database` is run once on each and gets the address of one that is its own.
RESTEAD_DATABASES (`sqlite`, `postgresql`, or both with a comma) says which there are; both if it is not set.
"""

import functools
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.lab.postgres import Cluster

from restead.records import Records

NAMES = tuple(os.environ.get("RESTEAD_DATABASES", "sqlite,postgresql").split(","))
_MIGRATED = "migrated"
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
_numbers = itertools.count()
_lasting = ExitStack()  # the cluster of this process, ended by `end`


@pytest.fixture(params=NAMES)
def database_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=NAMES, scope="module")
def shared_database_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(database_name: str) -> Iterator[str]:
    """The address of a database of the test's own, with all tables and no rows."""
    with empty(database_name) as url:
        yield url


@pytest.fixture(scope="module")
def shared_database(shared_database_name: str) -> Iterator[str]:
    """The address of a database that the tests of one file share."""
    with empty(shared_database_name) as url:
        yield url


@contextmanager
def empty(name: str) -> Iterator[str]:
    """Make a database of that kind, with all tables and no rows; yield its address."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
            path = Path(folder) / "records.db"
            path.write_bytes(_empty_file())
            yield f"sqlite:///{path}"
        return
    assert name == "postgresql", f"RESTEAD_DATABASES: {name}"
    cluster, own = _cluster(), f"test_{next(_numbers)}"
    try:
        yield cluster.create(own, like=_MIGRATED)
    finally:
        cluster.drop(own)


def end() -> None:
    """End the cluster of this process, if there is one."""
    _lasting.close()
    _cluster.cache_clear()


@functools.cache
def _cluster() -> Cluster:
    """One for each process that runs tests, since starting one takes longer than most tests."""
    cluster = _lasting.enter_context(Cluster.running())
    migrate(cluster.create(_MIGRATED))
    return cluster


@functools.cache
def _empty_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.db"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


def migrate(url: str) -> None:
    records = Records.open(url)
    records.migrate()
    records.close()
