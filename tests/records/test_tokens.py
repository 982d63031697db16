"""Tokens: made, shown once, found by their hash only, expired and revoked."""

from datetime import timedelta
from pathlib import Path

import pytest
from tests.lab import rows
from tests.records.rows import T0, Clock

from restead.domain.caller import Caller, Role
from restead.domain.errors import InvalidRequest, NotFound, Unauthenticated
from restead.domain.ids import ProjectId
from restead.ports import Identity
from restead.records import Records, Tokens


@pytest.fixture
def tokens(records: Records) -> Tokens:
    return Tokens(records)


def test_the_bearer_of_a_token_is_known(tokens: Tokens) -> None:
    identity: Identity = tokens
    made = tokens.create("p1", role=Role.READER, user="alice")
    assert identity.caller(made.secret) == Caller("alice", ProjectId("p1"), frozenset({Role.READER}))


@pytest.mark.parametrize("text", ["", "rst_", "x" * 1000, "rst_\ud800", "\0"])
def test_anything_else_is_nobody(tokens: Tokens, text: str) -> None:
    tokens.create("p1")
    with pytest.raises(Unauthenticated):
        tokens.caller(text)


def test_a_secret_is_long_different_and_nowhere_in_the_records(tokens: Tokens, records: Records) -> None:
    made = [tokens.create("p1") for _ in range(20)]
    assert len({new.secret for new in made}) == 20
    assert all(new.secret.startswith("rst_") and len(new.secret) == 36 for new in made)
    assert made[0].secret not in repr(made[0])
    content = str(rows.everything(records))
    assert all(new.token.id in content for new in made)
    if not records.on_server:
        records.close()
        files = Path(str(records.engine.url.database)).parent.iterdir()
        content += b"".join(path.read_bytes() for path in files).decode(errors="replace")
    assert not any(new.secret in content for new in made)


def test_the_list_shows_all_but_the_secret(tokens: Tokens, clock: Clock) -> None:
    first = tokens.create("p1", expires=timedelta(days=90))
    clock.forward(1)
    second = tokens.create("p2")
    assert tokens.list() == (first.token, second.token)
    assert tokens.list(ProjectId("p2")) == (second.token,)
    assert (first.token.expires_at, first.token.ending) == (T0 + timedelta(days=90), first.secret[-4:])


def test_a_token_ends_when_it_expires(tokens: Tokens, clock: Clock) -> None:
    made = tokens.create("p1", expires=timedelta(seconds=10))
    clock.forward(9.999)
    tokens.caller(made.secret)
    clock.forward(0.001)
    with pytest.raises(Unauthenticated):
        tokens.caller(made.secret)


def test_a_revoked_token_is_no_good_at_once(tokens: Tokens, clock: Clock) -> None:
    made = tokens.create("p1")
    assert tokens.revoke(made.token.id[:8]).revoked_at == T0
    clock.forward(1)
    assert tokens.revoke(made.token.id).revoked_at == T0  # again: nothing changes
    with pytest.raises(Unauthenticated):
        tokens.caller(made.secret)


@pytest.mark.parametrize("id", ["", "nothing", "%"])
def test_only_a_token_that_is_meant_is_revoked(tokens: Tokens, id: str) -> None:
    made = tokens.create("p1")
    with pytest.raises(NotFound):
        tokens.revoke(id)
    tokens.caller(made.secret)


def test_a_token_for_no_possible_project_or_for_no_time_is_refused(tokens: Tokens) -> None:
    with pytest.raises(InvalidRequest):
        tokens.create("p 1")
    with pytest.raises(InvalidRequest):
        tokens.create("p1", expires=timedelta(0))
