"""The way each database takes for every call that the benchmark of lists makes, among ten thousand backups."""

from collections.abc import Iterator

import pytest
from benchmarks.many_rows import fill
from tests.lab import databases

from benchmarks import lists
from restead.records import Records

_BACKUPS = 10_000
# Whose conditions one index holds all; others have an index of their own, or may be found by several.
_BY_CONDITIONS = {f"{asked}: {what}" for asked in ("list", "count") for what in
                  ("name, found", "name, nowhere", "resource_name, nowhere", "az, nowhere", "ip, nowhere")}  # fmt: skip
# Without a look at any backup.
_BY_NUMBER = {"count all", "count: status=error", "all projects: count", "all projects, count: status=error"}
_OF_OTHERS = {"tags of the project"}


@pytest.fixture(params=databases.NAMES)
def plans(request: pytest.FixtureRequest) -> Iterator[dict[str, list[str]]]:
    """The steps of the plans for each call, by its name."""
    with databases.empty(request.param) as url:
        records = Records.open(url)
        found: dict[str, list[str]] = {}
        for line in lists.plans(records, fill(records, _BACKUPS)):
            if line.startswith("\n"):
                steps = found.setdefault(line.strip(), [])
            else:
                steps.append(line.strip())
        yield found
        records.close()


def test_every_list_filter_count_search_and_page_is_found_by_an_index(plans: dict[str, list[str]]) -> None:
    """No table is read from its beginning to its end."""
    assert len(plans) > 160
    for call, steps in plans.items():
        whole = [step for step in steps if "Seq Scan" in step or (step.startswith("SCAN ") and " USING " not in step)]
        assert whole == [], call
        assert (steps == []) == (call in _BY_NUMBER | _OF_OTHERS), call
        if call.startswith("all projects") and "sort=" in call:  # the page that was found is put in order, no more
            assert sum("Sort Key" in step or "TEMP B-TREE" in step for step in steps) <= 1, (call, steps)
    for call in _BY_CONDITIONS | {"count by tags: name", "find by tags: name"}:
        ways = [step for step in plans[call] if "ix_backups_listing" in step]
        assert ways, call
        assert all("Index Only Scan" in way or "USING COVERING INDEX" in way for way in ways), (call, ways)
    for call, steps in plans.items():
        if "by tags" in call and not call.endswith(": name"):
            assert any("ix_tags_project_id_kind_key_value_subject_id" in step for step in steps), call
