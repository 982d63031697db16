"""Who is asked about a token: our own records, and Keystone beside them where the settings name it."""

from datetime import timedelta

from restead.app.opening import Opened
from restead.domain.caller import Caller
from restead.drivers.keystone import KeystoneIdentity
from restead.ports import Identity
from restead.records import TOKEN_PREFIX, Tokens


class BothIdentities:
    """Implements `Identity`: a token says by how it begins whose it is, so neither is asked about the other's."""

    def __init__(self, ours: Identity, keystone: Identity) -> None:
        self._ours = ours
        self._keystone = keystone

    def caller(self, token: str) -> Caller:
        return (self._keystone if is_foreign(token) else self._ours).caller(token)


def is_foreign(token: str) -> bool:
    """Tell if a token can be none of ours."""
    return not token.startswith(TOKEN_PREFIX)


def identity_of(house: Opened) -> Identity:
    """Return who knows what stands behind a token.

    Raises:
        InvalidRequest: the extra `keystone` is not installed, or no such cloud is configured.
    """
    settings = house.settings
    tokens = Tokens(house.records, settings.rights)
    if not settings.keystone:
        return tokens
    keystone = KeystoneIdentity(settings.keystone, settings.rights, timedelta(seconds=settings.keystone_cache))
    return BothIdentities(tokens, keystone)
