"""What commands on the data folder tell the audit trail."""

import pytest

from restead.cli.wiring import _said


@pytest.mark.parametrize(
    "address",
    ["postgresql://restead:topsecret@db.example.org/restead", "postgresql://restead@db/restead?password=topsecret",
     "postgresql://restead:top/secret?topsecret@db/restead", "Postgres://:topsecret@/x", "postgresql+psycopg://topsecret"],
)  # fmt: skip
def test_no_password_of_a_database_is_noted(address: str) -> None:
    """`restead db copy` takes one, wherever libpq lets it stand."""
    said = _said({"address": address, "yes": True})
    assert "secret" not in said
    assert said.startswith("address=")
    assert said.endswith("://… yes=True")


def test_what_was_typed_is_noted() -> None:
    """0 too: it is a quota as any other."""
    typed = {"address": "s3://bucket/prefix", "to": "sqlite:////srv/r.sqlite", "backups": ["a", "b"], "name": "",
             "yes": False, "small": 0}  # fmt: skip
    assert _said(typed) == "address=s3://bucket/prefix to=sqlite:////srv/r.sqlite backups=a,b small=0"
