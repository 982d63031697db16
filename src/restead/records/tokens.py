"""Tokens of this service: made, listed, revoked, and asked who stands behind one.

Only a hash is kept.  A secret has 190 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import secrets
import string
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from restead.domain.caller import DEFAULT_RIGHTS, Caller, Rights, Role
from restead.domain.errors import InvalidRequest, NotFound, Unauthenticated
from restead.domain.ids import ProjectId, new_id
from restead.domain.token import NewToken, Token, check_project
from restead.records.database import Records
from restead.records.tables import tokens

_ALPHABET = string.digits + string.ascii_letters
TOKEN_PREFIX = "rst_"  # tokens of other services begin otherwise
_LENGTH = 32  # characters of base 62: 190 bits


class Tokens:
    """The tokens in the records; implements the port Identity."""

    def __init__(self, records: Records, rights: Rights = DEFAULT_RIGHTS) -> None:
        self._records = records
        self._rights = rights

    def create(
        self, project: str, *, role: str = Role.MEMBER, expires: timedelta | None = None, user: str = ""
    ) -> NewToken:
        """Make a token.  Its secret is returned this once and kept nowhere.

        Raises:
            InvalidRequest: no project can be called so, there is no such role, or *expires* is not in the future.
        """
        role = role.lower()
        if role not in self._rights.allowed:
            raise InvalidRequest(f"there is no role {role[:64]!r}, only {', '.join(self._rights.allowed)}")
        project_id = check_project(project)
        if expires is not None and expires <= timedelta(0):
            raise InvalidRequest(f"a token that expires after {expires} would never be good")
        secret = TOKEN_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        with self._records.begin() as tx:
            until = None if expires is None else tx.now + expires
            id = new_id()
            token = Token(id, project_id, role, user or f"token-{id[:8]}", tx.now, until, None, secret[-4:])
            tx.connection.execute(tokens.insert().values(hash=_hash(secret), **_row(token)))
        return NewToken(token, secret)

    def list(self, project_id: ProjectId | None = None) -> tuple[Token, ...]:
        """Return all tokens, or a project's, oldest first; revoked and expired ones too."""
        query = sa.select(tokens).order_by(tokens.c.created_at, tokens.c.id)
        if project_id is not None:
            query = query.where(tokens.c.project_id == project_id)
        with self._records.read() as tx:
            return tuple(_token(row) for row in tx.connection.execute(query))

    def revoke(self, id: str) -> Token:
        """Make a token useless from now on; revoking a revoked one succeeds.

        *id*: its id, or the first characters of it if no other begins so.

        Raises:
            NotFound: no token, or more than one, begins so.
        """
        with self._records.begin() as tx:
            query = sa.select(tokens).where(tokens.c.id.startswith(id, autoescape=True)).limit(2)
            found = list(tx.connection.execute(query)) if id else []
            if len(found) != 1:
                raise NotFound(f"{'several tokens begin' if found else 'no token begins'} with {id[:64]!r}")
            still_good = sa.and_(tokens.c.id == found[0].id, tokens.c.revoked_at.is_(None))
            tx.connection.execute(tokens.update().where(still_good).values(revoked_at=tx.now))
            return _token(tx.connection.execute(sa.select(tokens).where(tokens.c.id == found[0].id)).one())

    def caller(self, token: str) -> Caller:
        """Return who stands behind a token.  Raises Unauthenticated, or Unavailable."""
        with self._records.read() as tx:
            row = tx.connection.execute(sa.select(tokens).where(tokens.c.hash == _hash(token))).one_or_none()
            good = row is not None and row.revoked_at is None and (row.expires_at is None or tx.now < row.expires_at)
        if row is None or not good:
            raise Unauthenticated("the token is unknown, expired or revoked")
        return Caller(row.user, row.project_id, frozenset({row.role}), self._rights)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _row(token: Token) -> dict[str, Any]:
    return {name: getattr(token, name) for name in Token.__slots__}


def _token(row: sa.Row[Any]) -> Token:
    return Token(**{name: getattr(row, name) for name in Token.__slots__})
