"""Our own account at Keystone, and what it is told about other people's tokens.

keystoneauth logs in when it has to, and again when its own token has ended.  It is imported late: that costs a
third of a second, and whoever has no Keystone has no use for it.
"""

from collections.abc import Mapping
from typing import Any

from restead.domain.errors import InvalidRequest, Unauthenticated, Unavailable

_TIMEOUT = 10.0  # seconds for one answer


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
        except ImportError as error:
            raise InvalidRequest("the setting keystone needs the extra: pip install restead[keystone]") from error
        try:
            region = OpenStackConfig().get_one(cloud=cloud)
            self._session: Any = region.get_session()
            # For our own login and for finding the address, too, which else would wait for ever.
            self._session.timeout = self._session.timeout or _TIMEOUT
        except (ConfigException, exceptions.ClientException) as error:
            raise InvalidRequest(f"cloud {cloud!r} of the setting keystone cannot be used: {error}") from error
        self._exceptions: Any = exceptions
        self._interface = region.get_interface("identity") or "public"
        self._region_name = region.get_region_name("identity") or None

    def told(self, token: str) -> Mapping[str, Any]:
        """Return what Keystone says of a good token (its `token` object).

        Raises:
            Unauthenticated: it is unknown, expired or revoked.
            Unavailable: Keystone does not answer, or does not tell us.
        """
        try:
            answer = self._session.get(
                "/auth/tokens?nocatalog",
                headers={"X-Subject-Token": token, "Accept": "application/json"},
                endpoint_filter={
                    "service_type": "identity", "interface": self._interface, "version": (3,),
                    "region_name": self._region_name,
                },
                raise_exc=False, connect_retries=1, timeout=_TIMEOUT,
            )  # fmt: skip
        except (self._exceptions.ClientException, UnicodeError) as error:
            raise Unavailable("Keystone cannot be asked about tokens now", detail=str(error)) from error
        if answer.status_code == 404:
            raise Unauthenticated("the token is unknown, expired or revoked")
        if answer.status_code != 200:
            raise Unavailable(f"Keystone answers {answer.status_code} when it is asked about a token",
                              detail=str(answer.text)[:500])  # fmt: skip
        return _token_of(answer)


def _token_of(answer: Any) -> Mapping[str, Any]:
    try:
        found = answer.json()["token"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable("Keystone's answer about a token is none that is known") from error
    if not isinstance(found, dict):
        raise Unavailable("Keystone's answer about a token is none that is known")
    return found
