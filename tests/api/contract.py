"""Answers held against the document that the API publishes about itself."""

import copy
import functools
import re
from typing import Any

import httpx2
from jsonschema import Draft202012Validator

from restead.api import create_api


class Contract:
    """The published document; every object in an answer has exactly its members and no other."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._components = copy.deepcopy(document["components"])
        for schema in self._components["schemas"].values():
            if "properties" in schema and "additionalProperties" not in schema:
                schema["additionalProperties"] = False
        # Fixed words before variables: /checkpoint_items/count is no id.
        self._paths = sorted(document["paths"], key=lambda path: path.count("{"))

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return what the document says about a call, None if it knows none such."""
        for template in self._paths:
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
            found = self.document["paths"][template].get(method.lower())
            if found is not None and re.fullmatch(pattern, path):
                return dict(found)
        return None

    def check(self, method: str, path: str, status: int, headers: dict[str, str], body: Any) -> None:
        """Return if the answer is one that the document promises."""
        if status in (404, 405) and body["error_code"] in ("CSBS.9404", "CSBS.9405"):
            self.validate({"$ref": "#/components/schemas/ErrorBody"}, body)
            return
        operation = self.operation(method, path)
        assert operation is not None, f"{method} {path} is not in the document"
        assert str(status) in operation["responses"], f"{method} {path}: status {status} is not in the document: {body}"
        response = operation["responses"][str(status)]
        for name in response.get("headers", {}):
            assert name.lower() in headers, f"{method} {path}: {status} without {name}"
        if "content" not in response:
            assert body is None
            assert "content-type" not in headers
            return
        ((kind, content),) = response["content"].items()
        assert headers["content-type"].partition(";")[0] == kind
        for value in body if kind == "text/event-stream" else [body]:
            self.validate(content["schema"], value)
        if status >= 400:
            assert body["error_code"] in response["description"], f"{method} {path}: {body} is not in the document"

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Raise unless *value* has that schema."""
        Draft202012Validator({**schema, "components": self._components}).validate(value)


_BESIDE = ("/openapi.json", "/docs", "/metrics", "/healthz", "/readyz")  # served, and not in the document


@functools.cache
def _published() -> Contract:
    return Contract(create_api(None, None).openapi())  # type: ignore[arg-type]


def as_published(response: httpx2.Response) -> None:
    """Raise unless an answer of a service is one that its document promises; to be hung into a client."""
    if response.headers.get("Content-Type", "").startswith("text/event-stream"):
        return  # it may not end
    contract, asked = _published(), response.request
    method, path = asked.method, asked.url.path
    if path.startswith(_BESIDE):
        return
    response.read()
    body = response.json() if response.content else None
    if contract.operation(method, path) is None:
        assert response.status_code in (401, 404, 405), f"{method} {path}: {response.status_code}, and nobody knows it"
        contract.validate({"$ref": "#/components/schemas/ErrorBody"}, body)
        return
    headers = {name.lower(): value for name, value in response.headers.items()}
    contract.check(method, path, response.status_code, headers, body)
