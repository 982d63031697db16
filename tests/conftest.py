"""What every run of tests stands on."""

import sys

import pytest


def pytest_sessionfinish() -> None:
    """End the database server that tests of this process have started, if one did."""
    if databases := sys.modules.get("tests.lab.databases"):
        databases.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `make test` run on SQLite alone what is marked `long_on_postgres`; `make test-long` runs the rest."""
    for item in items:
        given = getattr(item, "callspec", None)
        on_postgres = given is not None and "postgresql" in given.params.values()
        if on_postgres and item.get_closest_marker("long_on_postgres"):
            item.add_marker(pytest.mark.long)
