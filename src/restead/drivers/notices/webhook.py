"""Notices by webhook: one JSON body each, signed, to an address that an operator has set."""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2

from restead.domain.errors import InvalidRequest
from restead.domain.notice import Answer, Hearing, Notice
from restead.drivers.notices.signing import signed

_AGAIN = frozenset({408, 425, 429})  # of the 4xx: what may go well a moment later
_SHOWN = 200  # bytes of an answer's body, characters of its status
_LONGEST_WAIT = 3600  # seconds of a Retry-After that we heed


class Webhook:
    """Implements `Notifier`.  Nothing is followed, nothing is kept open; TLS is verified."""

    def __init__(
        self, url: str, keys: Sequence[bytes], *, timeout: timedelta = timedelta(seconds=10), ca: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        """*keys*: signs with each.  *timeout*: for all of a try.  *ca*: vouch for the receiver, not the usual ones.

        Raises:
            InvalidRequest: *ca* is no file of certificates.
        """
        self._url = url
        self._keys = tuple(keys)
        self._timeout = timeout.total_seconds()
        self._now = now
        try:
            self._tls = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequest(f"{ca} holds no certificates that can be used: {error}") from error

    def send(self, notices: Sequence[Notice]) -> Answer:
        for notice in notices:
            answer = self._send(notice)
            if answer.hearing is not Hearing.TAKEN:
                break
        return answer

    def _send(self, notice: Notice) -> Answer:
        body = body_of(notice)
        headers = {"content-type": "application/json", **signed(notice.id, self._now(), body, self._keys)}
        try:
            # Timeouts of a client are for each read: only this one ends a receiver that sends a byte now and then.
            return asyncio.run(asyncio.wait_for(self._post(body, headers), self._timeout))
        except TimeoutError:
            return Answer(Hearing.LATER, f"no answer within {self._timeout:g} seconds")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup) as error:
            said = str(error).replace(self._url, "its address")
            return Answer(Hearing.LATER, f"no answer: {type(error).__name__}: {said}")

    async def _post(self, body: bytes, headers: dict[str, str]) -> Answer:
        async with httpx2.AsyncClient(verify=self._tls, timeout=None, follow_redirects=False) as client:
            async with client.stream("POST", self._url, content=body, headers=headers) as response:
                return await _answer(response)


async def _answer(response: httpx2.Response) -> Answer:
    status = response.status_code
    said = f"{status} {_line(response.reason_phrase)}".strip()
    if response.is_success:
        return Answer(Hearing.TAKEN, said)
    said += await _beginning(response)
    if response.is_server_error or status in _AGAIN:
        return Answer(Hearing.LATER, said, _retry_after(response))
    return Answer(Hearing.REFUSED, f"{said} (redirects are not followed)" if response.is_redirect else said)


async def _beginning(response: httpx2.Response) -> str:
    """Return the first of the body as one line: why it was not taken may stand there."""
    found = b""
    async for part in response.aiter_raw():
        found += part
        if len(found) >= _SHOWN:
            break
    text = _line(found[:_SHOWN].decode(errors="replace"))
    return f": {text}" if text else ""


def _line(text: str) -> str:
    """Return the beginning of what somebody else said as one line that steers no terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN]).rstrip()


def _retry_after(response: httpx2.Response) -> timedelta | None:
    text = response.headers.get("retry-after", "")
    if not (text.isascii() and text.isdecimal()):
        return None
    return timedelta(seconds=min(int(text[:9]), _LONGEST_WAIT))


def body_of(notice: Notice) -> bytes:
    """Return what is posted: what happened, when it did, and all that is told of it."""
    data = {"number": notice.number, "project_id": notice.project_id, "summary": notice.summary, **notice.facts}
    at = notice.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    whole = {"type": notice.kind.value, "timestamp": at, "data": data}
    return json.dumps(whole, allow_nan=False, separators=(",", ":")).encode("ascii")
