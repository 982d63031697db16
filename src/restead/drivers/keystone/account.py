"""Our own account at Keystone, and what it is told about other people's tokens.

keystoneauth logs in when it has to, and again when its own token has ended.  It is imported late: that costs a
third of a second, and whoever has no Keystone has no use for it.
"""

from collections.abc import Mapping
from typing import Any

from restead.domain.errors import InvalidRequest, Unauthenticated, Unavailable

_TIMEOUT = 10.0  # seconds for one answer
_LONGEST = 500  # characters of it that the log is told
_OF_ODD_ANSWERS = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class Account:
    """A service account.  May be used by many threads."""

    def __init__(self, cloud: str) -> None:
        """Read the configuration of *cloud*; nothing is asked yet.

        Raises:
            InvalidRequest: the extra `keystone` is not installed, or there is no such cloud.
        """
        try:
            from keystoneauth1 import exceptions
            from openstack.config import OpenStackConfig
            from openstack.exceptions import ConfigException

            from restead.drivers.keystone.bounded import BoundedAdapter
        except ImportError as error:
            raise InvalidRequest("the setting keystone needs the extra: pip install restead[keystone]") from error
        try:
            region = OpenStackConfig().get_one(cloud=cloud)
            self._session: Any = region.get_session()
            # For our own login and for finding the address, too, which else would wait for ever.
            self._session.timeout = self._session.timeout or _TIMEOUT
            for scheme in ("http://", "https://"):
                self._session.session.mount(scheme, BoundedAdapter(_TIMEOUT))
        except (ConfigException, exceptions.ClientException) as error:
            raise InvalidRequest(f"cloud {cloud!r} of the setting keystone cannot be used: {error}") from error
        # keystoneauth takes some of what it was told apart only when it needs it: then anything may come of it.
        self._unexpected = (exceptions.ClientException, *_OF_ODD_ANSWERS)
        self._interface = region.get_interface("identity") or "public"
        self._region_name = region.get_region_name("identity") or None

    def told(self, token: str) -> Mapping[str, Any]:
        """Return what Keystone says of a good token (its `token` object).

        Raises:
            Unauthenticated: it is unknown, expired or revoked.
            Unavailable: Keystone does not answer, or does not tell us.
        """
        try:
            return _token_of(self._asked(token))
        except self._unexpected as error:
            # What went wrong may be what the last login said, such as where Keystone is: believed until our own token
            # ends, it would be wrong for that long, and for ever if it is a time that cannot be read.
            self._session.invalidate()
            raise Unavailable("Keystone cannot be asked about tokens now", detail=repr(error)[:_LONGEST]) from error

    def _asked(self, token: str) -> Any:
        return self._session.get(
            "/auth/tokens?nocatalog",
            headers={"X-Subject-Token": token, "Accept": "application/json"},
            endpoint_filter={
                "service_type": "identity", "interface": self._interface, "version": (3,),
                # Else a Keystone whose versions cannot be read is asked at an address without one: 404, always.
                "region_name": self._region_name, "allow_version_hack": False,
            },
            raise_exc=False, connect_retries=1, timeout=_TIMEOUT,
        )  # fmt: skip


def _token_of(answer: Any) -> Mapping[str, Any]:
    """Raises Unauthenticated, Unavailable; one of _OF_ODD_ANSWERS if it is not Keystone that has answered."""
    if answer.status_code == 404:
        # Only Keystone knows of a token that it is none: a proxy in front says 404 for reasons of its own.
        if answer.json()["error"]["code"] == 404:
            raise Unauthenticated("the token is unknown, expired or revoked")
        raise ValueError(f"a 404 that is none of Keystone's: {answer.text[:_LONGEST]}")
    if answer.status_code != 200:
        raise Unavailable(f"Keystone answers {answer.status_code} when it is asked about a token",
                          detail=str(answer.text)[:_LONGEST])  # fmt: skip
    found = answer.json()["token"]
    if not isinstance(found, dict):
        raise TypeError(f"a token that is a {type(found).__name__}")
    return found
