"""docs/api.md says every route, code, action, filter and extension that is served."""

import re
from pathlib import Path

from tests.api.front import Front

from restead.api import backups, checkpoints, notices, operations, policies, restores
from restead.api.openapi import MEANING
from restead.api.requests import RestoreParameters
from restead.domain.caller import Action, Role

_PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_every_route_is_in_the_page_and_no_other(shared_front: Front) -> None:
    """By method and path, as the published document has them."""
    served = {
        f"{method.upper()} {path}"
        for path, operations in shared_front.contract.document["paths"].items()
        for method in operations
    }
    table = _PAGE.split("## Routes")[1].split("\n## ")[0]
    told = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", table))
    assert told == served


def test_every_code_is_in_the_page_with_its_status_and_meaning() -> None:
    table = _PAGE.split("## Errors")[1]
    told = re.findall(r"^\| `(CSBS\.\d{4})` \| (\d{3}) \| (.+) \|$", table, re.MULTILINE)
    assert told == sorted((code.value, str(status), meaning) for code, (status, meaning) in MEANING.items())


def test_every_action_role_and_extension_is_in_the_page() -> None:
    for word in [*Action, *Role]:
        assert f"`{word.value}`" in _PAGE, word
    for name, member in RestoreParameters.model_fields.items():
        if not member.is_required():
            assert f"| `{name}` |" in _PAGE, name


def test_every_filter_and_sort_key_is_in_the_page(shared_front: Front) -> None:
    table = _PAGE.split("## Lists")[1].split("\n## ")[0]
    for path, methods in shared_front.contract.document["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", []):
            if parameter["in"] == "query":
                assert f"`{parameter['name']}`" in table, f"{path}: {parameter['name']}"
    for noun, name in (
        (backups, "backups"), (checkpoints, "records"), (restores, "restores"), (operations, "operation log"),
        (policies, "policies"), (notices, "notices"),
    ):  # fmt: skip
        row = re.search(rf"^\| {name} \|.*\| (.+) \|$", table, re.MULTILINE)
        assert row is not None
        assert tuple(re.findall(r"`(\w+)`", row[1])) == noun.SORT_KEYS
