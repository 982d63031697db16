"""Answers of Keystone, and of whatever stands in its place, that are neither too long nor take too long.

requests reads a body whole, however much comes, and begins to count its seconds anew with every byte.
"""

import time
from io import BytesIO
from typing import Any

from keystoneauth1.session import TCPKeepAliveAdapter
from requests import PreparedRequest, RequestException, Response
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

_LARGEST = 4 << 20  # bytes; a catalog of a large cloud has some hundred thousand
_PORTION = 1 << 16


class BoundedAdapter(TCPKeepAliveAdapter):
    """Sends requests; what is answered is in memory then, or it is an error."""

    def __init__(self, longest: float) -> None:
        """*longest*: seconds for a body from the moment that its head is there."""
        super().__init__()
        self._longest = longest

    def send(self, request: PreparedRequest, *_: Any, **options: Any) -> Response:
        """As `HTTPAdapter.send`.  Raises RequestException."""
        answer = super().send(request, **{**options, "stream": True})
        try:
            content = self._read(answer.raw)
        except HTTPError as error:
            raise RequestException(f"the answer broke off: {error}") from error
        finally:
            answer.raw.close()
        answer.raw = HTTPResponse(BytesIO(content), status=answer.status_code, preload_content=False)
        return answer

    def _read(self, raw: Any) -> bytes:
        ends, parts, size = time.monotonic() + self._longest, [], 0
        while part := raw.read1(_PORTION, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > _LARGEST:
                raise RequestException(f"the answer has at least {size} bytes, {_LARGEST} are read")
            if time.monotonic() > ends:
                raise RequestException(f"the answer was not there after {self._longest} seconds")
        return b"".join(parts)
