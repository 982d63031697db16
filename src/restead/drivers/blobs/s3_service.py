"""How an S3 service is spoken to: where it is, who we are there, and how long it is waited for.

All numbers of retries, time-outs and connections stand here and in the settings that they come from.
"""

import configparser
import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from restead.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

_CONNECT = timedelta(seconds=10)
_LAST_PAUSE = timedelta(seconds=5)
_LONGER = 10  # times as long as for another request is waited for a put, which may carry a pack of 64 MiB
_CHECKSUM = "SHA256"  # of each put: where objects are locked services want one; signing computes this one anyway
_FRESH = timedelta(minutes=15)  # keys from a file are read again after that


@dataclass(frozen=True, slots=True)
class S3Service:
    """A bucket, or a part of it, and the way there.

    Credentials are those of the environment, else of a profile in the files of the AWS tools, else of the machine
    (web identity, container, instance).  They are never kept here.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""  # of the environment, else the region's own, if empty
    region: str = ""
    profile: str = ""
    ca: Path | None = None  # PEM file of the authorities that may vouch for it, besides the usual ones
    allow_http: bool = False  # also beyond this machine
    timeout: float = 60.0  # seconds for one try
    retries: int = 4  # after the first try
    checksums: bool = True  # each put carries a checksum that the service can verify
    lock: timedelta = timedelta()  # for so long nobody can delete a pack that is put; not at all if it is zero
    lock_mode: str = "governance"  # or "compliance": then not even who may lift locks

    @property
    def address(self) -> str:
        return "s3://" + "/".join(part for part in (self.bucket, self.prefix) if part)

    def connections(self) -> tuple["S3Store", "S3Store"]:
        """Return one connection for reading, which tries again by itself, and one for puts, which does not.

        Raises:
            InvalidRequest: the way there is not private, or a file that is named cannot be read.
        """
        return self._connect(self.retries, self.timeout), self._connect(0, self.timeout * _LONGER, puts=True)

    def locking(self, until: datetime) -> "S3Store":
        """Return a connection for puts of objects that are locked until then."""
        headers = {
            "x-amz-object-lock-mode": self.lock_mode.upper(),
            "x-amz-object-lock-retain-until-date": until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return self._connect(0, self.timeout * _LONGER, puts=True, headers=headers)

    def _connect(
        self, retries: int, timeout: float, *, puts: bool = False, headers: dict[str, str] | None = None
    ) -> "S3Store":
        from obstore.store import S3Store

        keys = None if os.environ.get("AWS_ACCESS_KEY_ID") else _FileKeys.find(self.profile)
        endpoint = self.endpoint or _from_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        summed = puts and (self.checksums or headers)
        options: dict[str, Any] = {
            "bucket": self.bucket,
            "region": self.region or _from_environment("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
            "conditional_put": "etag",
            "disable_bulk_delete": True,  # not every service has it
            "client_options": self._client(_private(endpoint, self.allow_http), timeout) | {
                "default_headers": ({"x-amz-sdk-checksum-algorithm": _CHECKSUM} if summed else {}) | (headers or {}),
            },
            "retry_config": {
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=timeout * (retries + 1)),
                "backoff": {"max_backoff": _LAST_PAUSE},
            },
        }
        if summed:
            options["checksum_algorithm"] = _CHECKSUM
        if endpoint:
            options["endpoint"] = endpoint
        if keys is not None:
            options["credential_provider"] = keys
        return S3Store(**options)

    def _client(self, http: bool, timeout: float) -> dict[str, Any]:
        client: dict[str, Any] = {
            "allow_http": http,
            "connect_timeout": min(_CONNECT, timedelta(seconds=timeout)),
            "timeout": timedelta(seconds=timeout),
        }
        if self.ca is not None:
            try:
                client["root_certificate"] = self.ca.read_bytes()
            except OSError as error:
                raise InvalidRequest(f"s3_ca {self.ca} cannot be read: {error.strerror}") from error
        return client


def _from_environment(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")


def _private(endpoint: str, allow_http: bool) -> bool:
    """Tell whether the endpoint is spoken to without HTTPS.  Raises InvalidRequest if that must not be."""
    if not endpoint:
        return False
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest("the endpoint of the S3 service is no address such as https://s3.example.org")
    if parts.username or parts.password:
        raise InvalidRequest("the endpoint of the S3 service holds a name or password: put keys where the AWS tools do")
    if parts.scheme == "http" and not (allow_http or _is_loopback(parts.hostname)):
        raise InvalidRequest(
            f"the S3 service at {parts.hostname} would be spoken to without HTTPS: "
            "use https://, or set s3_allow_http if the way there is private"
        )
    return parts.scheme == "http"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _FileKeys:
    """Keys of a profile in the AWS tools' file of credentials, read when they are needed."""

    def __init__(self, path: Path, profile: str) -> None:
        self._path = path
        self._profile = profile

    def __repr__(self) -> str:
        return f"keys of profile {self._profile} in {self._path}"

    @classmethod
    def find(cls, profile: str) -> "_FileKeys | None":
        """Return the keys of *profile*, else of AWS_PROFILE, else of `default`; None if that last is not there.

        Raises:
            InvalidRequest: a profile was named, and there are no keys of it.
        """
        path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
        named = profile or os.environ.get("AWS_PROFILE", "")
        keys = cls(path, named or "default")
        if not named and not (path.is_file() and keys._read()):
            return None
        keys()
        return keys

    def __call__(self) -> "S3Credential":
        found = self._read()
        if not found.get("aws_access_key_id") or not found.get("aws_secret_access_key"):
            raise InvalidRequest(f"{self._path} holds no keys of profile {self._profile}")
        return {
            "access_key_id": found["aws_access_key_id"],
            "secret_access_key": found["aws_secret_access_key"],
            "token": found.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + _FRESH,
        }

    def _read(self) -> dict[str, str]:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            return {}  # what is wrong in it could show a key
        return dict(parser[self._profile]) if parser.has_section(self._profile) else {}
