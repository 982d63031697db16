"""The document says what is served, with schemas that the published examples fit."""

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator
from tests.api.front import Front

from restead.api.errors import STATUS
from restead.api.openapi import MEANING, read_examples
from restead.domain.errors import Code

EXAMPLES = read_examples()


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {o["operationId"]: o for path in document["paths"].values() for o in path.values()}


def test_every_route_is_in_the_document_under_a_name_of_its_own(shared_front: Front) -> None:
    document = shared_front.contract.document
    assert document["openapi"] == "3.1.0"
    served = {
        (method, context.path)
        for context in iter_route_contexts(shared_front.app.routes)
        if isinstance(context.original_route, APIRoute) and context.include_in_schema
        for method in context.methods or ()
    }
    documented = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert documented == served
    assert len(_operations(document)) == len(documented) == 59


def test_every_schema_is_one_and_every_reference_leads_somewhere(shared_front: Front) -> None:
    document = shared_front.contract.document
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert name == "FailCode" or schema.get("description"), f"{name} is not explained"
    text = json.dumps(document)
    assert "$defs" not in text
    assert "422" not in text
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named == set(schemas)


def test_every_operation_needs_a_token_but_versions_and_health(shared_front: Front) -> None:
    document = shared_front.contract.document
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token of the project."}
    }
    for name, operation in _operations(document).items():
        public = name in ("listVersions", "showVersion", "showHealth", "showReadiness")
        assert operation.get("security") == (None if public else [{"token": []}])
        assert ("401" in operation["responses"]) is not public


def test_every_operation_has_an_example_and_the_examples_fit(shared_front: Front) -> None:
    """The published requests and answers, held against our schemas without one member more."""
    operations = _operations(shared_front.contract.document)
    assert set(EXAMPLES) - {"error"} == set(operations)
    for name, examples in EXAMPLES.items():
        if name == "error":
            shared_front.contract.validate({"$ref": "#/components/schemas/ErrorBody"}, examples)
            continue
        operation = operations[name]
        good = next((found for status, found in operation["responses"].items() if status[0] in "23"), {})
        (answer,) = good.get("content", {"": None}).values()
        asked = operation.get("requestBody", {}).get("content", {}).get("application/json")
        for kind, content in (("request", asked), ("response", answer)):
            assert (content is None) == (kind not in examples), f"{name}: no example of a {kind}"
            for value in examples.get(kind, {}).values():
                shared_front.contract.validate(content["schema"], value)
            if content is not None:
                assert set(content["examples"]) == set(examples[kind])


def test_every_code_has_a_meaning_and_the_status_of_the_class_that_carries_it() -> None:
    assert set(MEANING) == set(Code)
    edge = {Code.METHOD_NOT_ALLOWED: 405, Code.BODY_TOO_LARGE: 413}
    for code, (status, meaning) in MEANING.items():
        assert status == edge.get(code, status)
        assert code in edge or status in STATUS.values()
        assert meaning
    for kind, status in STATUS.items():
        assert MEANING[kind.code][0] == status


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ("RestoreAction",
         [{"cancel": {}}, {"undo": {"power_on": False}}, {"throttle": {}}, {"cancel": {}, "undo": None}],
         [{}, {"cancel": None}, {"undo": {}}, {"cancel": {}, "undo": {"power_on": True}},
          {"throttle": {"bytes_per_second": -1}}]),
        ("RestoreCreate", [], [{}, {"restore": None}, {"restore": {"provider_id": "x"}}]),
        ("ProtectRequest", [{"protect": {}}, {"protect": {"incremental": "True", "tags": None}}],
         [{"protect": {"incremental": "TRUE"}}, {"protect": {"tags": []}}, {"protect": {"backup_name": "a b"}},
          {"protect": {"incremental": 1}}, {"protect": {"description": "<"}}, []]),
    ],
)  # fmt: skip
def test_the_schemas_of_requests_say_what_is_accepted(
    shared_front: Front, schema: str, good: list[Any], bad: list[Any]
) -> None:
    document = shared_front.contract.document
    validator = Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    )
    assert all(validator.is_valid(value) for value in good)
    assert not any(validator.is_valid(value) for value in bad)
