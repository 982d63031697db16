"""The driver: callers by their Keystone tokens.

An answer is believed for a short set time, so that a client which asks every second does not make Keystone's load ours;
for as long a revoked token may still be good.  Tokens are remembered by their hash only.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from restead.domain.caller import DEFAULT_RIGHTS, Caller, Rights
from restead.domain.errors import InvalidRequest, Unauthenticated, Unavailable
from restead.domain.token import check_project
from restead.drivers.keystone.account import Account
from restead.drivers.keystone.questions import Questions, Told

_MOST_KEPT = 10_000  # answers, a few hundred bytes each
_LONGEST = 4096  # characters of a token that Keystone is asked about; its own are below 300
_LONGEST_NAME = 255  # characters of a user's id; Keystone's own has 64 at most


class KeystoneIdentity:
    """Implements `Identity`.  The project and the roles of a caller are those of the token's scope."""

    def __init__(
        self,
        cloud: str,
        rights: Rights = DEFAULT_RIGHTS,
        believed: timedelta = timedelta(seconds=60),
        *,
        account: Told | None = None,
        seconds: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """*cloud*: as `Account`, unless an *account* is given; *believed*: how long an answer is good.

        Raises:
            InvalidRequest: as `Account`.
        """
        self._questions = Questions(account or Account(cloud), seconds)
        self._rights = rights
        self._believed = believed.total_seconds()
        self._seconds = seconds
        self._now = now
        self._kept: OrderedDict[bytes, tuple[float, datetime, Caller]] = OrderedDict()
        self._lock = threading.Lock()

    def caller(self, token: str) -> Caller:
        """Return who stands behind a token.

        Raises:
            Unauthenticated: it is unknown, expired or revoked, or is not for a project.
            Unavailable: Keystone could not be asked.
        """
        if not token.isascii() or not token.isprintable() or not 0 < len(token) <= _LONGEST:
            raise Unauthenticated("the token is unknown, expired or revoked")
        key = hashlib.sha256(token.encode()).digest()
        kept = self._known(key)
        if kept is not None:
            return kept
        asked_at, told = self._questions.ask(key, token, self._believed)
        expires_at, caller = self._understood(told)
        if self._now() >= expires_at:
            raise Unauthenticated("the token is unknown, expired or revoked")
        self._keep(key, asked_at + self._believed, expires_at, caller)
        return caller

    def _known(self, key: bytes) -> Caller | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            good_until, expires_at, caller = found
            if self._seconds() < good_until and self._now() < expires_at:
                return caller
            del self._kept[key]
            return None

    def _keep(self, key: bytes, good_until: float, expires_at: datetime, caller: Caller) -> None:
        with self._lock:
            self._kept[key] = (good_until, expires_at, caller)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def _understood(self, told: Mapping[str, Any]) -> tuple[datetime, Caller]:
        project = told.get("project")
        if not isinstance(project, Mapping):
            raise Unauthenticated("the token is not for a project: ask Keystone for one that is")
        try:
            expires_at = datetime.fromisoformat(told["expires_at"])
            user, id = _name(told["user"]["id"]), check_project(_name(project["id"]))
            # Keystone tells roles apart without regard to case.
            roles = frozenset(_name(role["name"]).lower() for role in told.get("roles", ()))
        except (KeyError, TypeError, ValueError, InvalidRequest) as error:
            raise Unavailable("Keystone's answer about a token is none that is known", detail=repr(error)) from error
        if expires_at.tzinfo is None:
            raise Unavailable("Keystone's answer about a token is none that is known: its time has no zone")
        return expires_at, Caller(user, id, roles, self._rights)


def _name(value: object) -> str:
    """Return a name as it was told.  Raises TypeError: whoever has none is nobody, not a user called None."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME):
        raise TypeError(f"{str(value)[:80]!r} is no name")
    return value
