"""The document and the page that shows it: nothing is loaded from elsewhere."""

import hashlib
import re
from importlib.resources import files

import pytest
from tests.api.front import Front

_STATIC = files("restead.api").joinpath("static")
_ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9.-]+", re.IGNORECASE)


def test_the_page_loads_only_what_we_serve(shared_front: Front) -> None:
    """Every script, style and icon of the page is ours, and a policy keeps it so."""
    page = shared_front.get("!/docs", token=None, check=False)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    text = page.content.decode()
    assert _ELSEWHERE.findall(text) == []
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert sorted(named) == ["/docs/docs.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "data:,"]
    for name in sorted(named)[:3]:
        file = shared_front.get(f"!{name}", token=None, check=False)
        assert file.status == 200
        assert file.content == _STATIC.joinpath(name.removeprefix("/docs/")).read_bytes()
        assert "req-" in file.headers["x-openstack-request-id"]
    assert shared_front.get("!/docs/", token=None, check=False).content == page.content


def test_the_page_finds_its_parts_behind_a_prefix(database: str) -> None:
    """Where a proxy in front takes a prefix off, the browser must put it back on."""
    front = Front(database, base_url="https://backup.test/cloud/")
    text = front.get("!/docs", check=False).content.decode()
    assert 'src="/cloud/docs/docs.js"' in text
    assert 'data-document="/cloud/openapi.json"' in text
    front.close()


def test_our_own_script_asks_nobody_else(shared_front: Front) -> None:
    """The bundle would show the document to a validator somewhere else if it were not told not to."""
    script = shared_front.get("!/docs/docs.js", check=False).content.decode()
    assert _ELSEWHERE.findall(re.sub(r"^//.*$", "", script, flags=re.MULTILINE)) == []
    assert "validatorUrl: null" in script


@pytest.mark.parametrize("name", ["README.md", "..%2ferrors.py", "x", "NOTICE", "%2e%2e", "swagger-ui.css.map"])
def test_other_files_are_not_served(shared_front: Front, name: str) -> None:
    assert shared_front.get(f"!/docs/{name}", check=False).status == 404


def test_the_scripts_are_those_of_the_release_that_is_named() -> None:
    """The hashes that stand beside them."""
    told = dict(re.findall(r"^ {4}([0-9a-f]{64})  (\S+)$", _STATIC.joinpath("README.md").read_text(), re.MULTILINE))
    found = {
        hashlib.sha256(file.read_bytes()).hexdigest(): file.name
        for file in _STATIC.iterdir()
        if file.name not in ("README.md", "docs.js")
    }
    assert found == told


def test_the_document_is_served_to_everyone(shared_front: Front) -> None:
    answer = shared_front.get("!/openapi.json", token=None, check=False)
    assert answer.status == 200
    assert answer.json == shared_front.contract.document
