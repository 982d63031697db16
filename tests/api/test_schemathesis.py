"""The document and the service, each held against the other by generated requests."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import strategies as st
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
schema = schemathesis.openapi.from_asgi("/openapi.json", create_api(None, None), config=CONFIG)  # type: ignore[arg-type]
# Replication never succeeds, which is a check of its own; tags of policies are served by the code that serves backups'.
schema = schema.exclude(path_regex="/replicate$|/csbs_backup_policy/")


@schema.parametrize()
def test_generated_requests_get_documented_answers(case: schemathesis.Case, generated_front: Front) -> None:
    """All checks of schemathesis; and what is valid is refused only for what no schema can say."""
    response = case.call_and_validate(app=generated_front.app, headers={"X-Auth-Token": generated_front.token})
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        return
    body = response.json()
    if body["error_code"] == "CSBS.9001":
        assert any(known in body["error_msg"] for known in _BEYOND_SCHEMAS), (case.as_curl_command(), body)
