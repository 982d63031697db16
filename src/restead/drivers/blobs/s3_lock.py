"""Object lock of an S3 service: for a while nobody can delete what was put, whatever he is allowed otherwise.

A service that knows no locks may pass over what was asked for.  So it is looked at what became of the first object.
What a lock says stands in headers of the object, which obstore does not show: it signs the request that asks for them.
"""

import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from restead.drivers.blobs.s3_service import S3Service

if TYPE_CHECKING:
    from obstore.store import S3Store

_FRESH = 3600.0  # seconds for which one connection, with one time in its headers, is used
_SLACK = timedelta(seconds=2 * _FRESH)  # longer than asked for: until the connection is replaced, and a put is through
_SIGNED_FOR = timedelta(minutes=5)


class Locks:
    """Puts locked objects, and tells of locks.  *obstore* is the module."""

    def __init__(self, service: S3Service, obstore: Any) -> None:
        self._service = service
        self._obstore = obstore
        self._guard = threading.Lock()
        self._connection: S3Store | None = None
        self._made = 0.0
        self.proven = not service.lock  # an object was seen to be locked

    def connection(self) -> "S3Store":
        """Return what puts objects that are locked for as long as was asked for, or a little longer."""
        with self._guard:
            now = time.monotonic()
            if self._connection is None or now - self._made > _FRESH:
                self._connection = self._service.locking(datetime.now(UTC) + self._service.lock + _SLACK)
                self._made = now
            return self._connection

    def until(self, reading: "S3Store", key: str) -> str:
        """Return until when the object is locked, as the service says it; "" if it says nothing.

        Raises:
            OSError: the service does not answer.
        """
        import httpx2

        url = self._obstore.sign(reading, "HEAD", key, _SIGNED_FOR)
        context = ssl.create_default_context()
        if self._service.ca is not None:
            context.load_verify_locations(self._service.ca)
        try:
            said = httpx2.head(url, verify=context, timeout=self._service.timeout).headers
        except httpx2.HTTPError as error:
            raise OSError(type(error).__name__) from None  # its text would show the signature
        if said.get("x-amz-object-lock-legal-hold", "").upper() == "ON":
            return "a legal hold ends"
        return str(said.get("x-amz-object-lock-retain-until-date", ""))
