"""The document and the service, each held against the other by generated requests."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from tests.api.front import MIB, PROJECT, Front

from restead.api import create_api

pytestmark = pytest.mark.long_on_postgres
_EXAMPLES = 15  # generated requests for each operation, besides those that cover each rule of its schema

# What a schema cannot say: an entry that must exist, members that must differ, what is not supported yet.
_BEYOND_SCHEMAS = ("marker: ", "volumes: ", "protect.tags: key ", "exclude_volumes", "not supported yet",
                   "hold.until: ", "trigger.properties.pattern: ", "operation_definition.timezone: ",
                   "policy.resources: ", "policy.tags: ", "policy.selection", "scheduled_operations[0].id: ",
                   "resources: ", "tags: key ", "tags: list should have at most 10 ", "tags_any: key ",
                   "matches: ", "tags[")  # fmt: skip


def _times() -> st.SearchStrategy[str]:
    return st.tuples(st.datetimes(), st.sampled_from(["", "Z"])).map(lambda t: t[0].isoformat() + t[1])


schemathesis.openapi.format("csbs-time", _times())


@pytest.fixture(scope="module")
def generated_front(shared_database: str) -> Iterator[Front]:
    """A service with a server and a backup in it."""
    front = Front(shared_database)
    front.backup_of(front.server(MIB))
    yield front
    front.close()


CONFIG = SchemathesisConfig.from_dict(
    {
        # The token is ours in every request; that it is asked for is shown by a check that takes it away.
        "generation": {"max-examples": _EXAMPLES, "deterministic": True, "with-security-parameters": False},
        "parameters": {"path.project_id": PROJECT},
        # What is valid by its schema and still refused is looked at below, more closely.
        "checks": {"positive_data_acceptance": {"enabled": False}},
    }
)
whole = schemathesis.openapi.from_asgi("/openapi.json", create_api(None, None), config=CONFIG)  # type: ignore[arg-type]
# Tags of policies are served by the code that serves backups', so they are asked for only where there is time.
schema = whole.exclude(path_regex="/replicate$|/csbs_backup_policy/")
policy_tags, replication = whole.include(path_regex="/csbs_backup_policy/"), whole.include(path_regex="/replicate$")


@schema.parametrize()
def test_generated_requests_get_documented_answers(case: schemathesis.Case, generated_front: Front) -> None:
    """All checks of schemathesis; and what is valid is refused only for what no schema can say."""
    _is_answered(case, generated_front)


@pytest.mark.long
@policy_tags.parametrize()
def test_generated_requests_for_tags_of_policies(case: schemathesis.Case, generated_front: Front) -> None:
    _is_answered(case, generated_front)


@replication.parametrize()
def test_replication_is_never_supported(case: schemathesis.Case, generated_front: Front) -> None:
    """Its answer is a 500 in the document and in fact; every other check holds."""
    _is_answered(case, generated_front, excluded_checks=[not_a_server_error])


def _is_answered(case: schemathesis.Case, front: Front, **checks: Any) -> None:
    headers = {"X-Auth-Token": front.token}
    response = case.call_and_validate(app=front.app, headers=headers, **checks)
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        return
    body = response.json()
    if body["error_code"] == "CSBS.9001":
        assert any(known in body["error_msg"] for known in _BEYOND_SCHEMAS), (case.as_curl_command(), body)
