"""Signatures of webhooks, as the convention "Standard Webhooks" has them.

    webhook-id         of the notice: the same at every try
    webhook-timestamp  of this try: seconds since 1970
    webhook-signature  `v1,` and the base64 of an HMAC-SHA256 over id.timestamp.body; one for each secret, after blanks
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from restead.domain.errors import InvalidRequest

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # bytes; Standard Webhooks: "between 24 bytes (192 bits) and 64 bytes (512 bits)"


def signing_key(secret: str) -> bytes:
    """Return the key that base64 text, with or without `whsec_` in front, stands for.  Raises InvalidRequest."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("the secret of a webhook is no base64") from None  # the text is a secret
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise InvalidRequest(
            f"the secret of a webhook has {len(key)} bytes, {_SHORTEST} to {_LONGEST} are needed: "
            "openssl rand -base64 32"
        )
    return key


def signed(id: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers that let a receiver prove who sent *body*, and when."""
    timestamp = str(int(at.timestamp()))
    content = f"{id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {"webhook-id": id, "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures)}  # fmt: skip
