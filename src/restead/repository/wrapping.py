"""Wrappings: the keyring's secret, sealed under each secret that opens the repository."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from restead.domain.errors import Damaged, Unavailable
from restead.repository.secret import KeyFile, Passphrase, RecoveryKey, Secret

_NONCE = bytes(12)  # safe only because no salt, and so no key, is used twice
_MOST_MEMORY = 4 * 1024 * 1024  # KiB: whoever keeps the objects shall not make us swap
_MOST_PASSES = 100
_MOST_LANES = 64


class WrappingKind(StrEnum):
    PASSPHRASE = "passphrase"
    KEY_FILE = "key file"
    RECOVERY_KEY = "recovery key"


_KINDS: Mapping[type, WrappingKind] = {
    Passphrase: WrappingKind.PASSPHRASE,
    KeyFile: WrappingKind.KEY_FILE,
    RecoveryKey: WrappingKind.RECOVERY_KEY,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What guessing a passphrase costs: parameters of Argon2id.

    The default is the second recommendation of RFC 9106, section 4.
    """

    passes: int = 3
    memory: int = 65_536  # KiB
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class Wrapping:
    """One way to open the repository."""

    id: str  # 16 random bytes, hexadecimal
    kind: WrappingKind
    label: str
    salt: bytes  # 32 random bytes
    cost: Cost | None  # only for passphrases
    wrapped: bytes  # the keyring's secret, sealed: 48 bytes
    confirmed_at: datetime | None = None  # when somebody said that the recovery key is kept elsewhere
    added_at: datetime | None = None  # as told by whoever added it; unknown in repositories of early releases

    @classmethod
    def of(
        cls, secret: Secret, keyring_secret: bytes, repository_id: bytes, *, label: str, cost: Cost,
        at: datetime | None = None,
    ) -> "Wrapping":  # fmt: skip
        """Return *keyring_secret* wrapped under *secret*, at the time *at*."""
        id, kind, salt = os.urandom(16).hex(), kind_of(secret), os.urandom(32)
        blank = cls(id, kind, label, salt, cost if kind is WrappingKind.PASSPHRASE else None, b"")
        sealed = AESGCM(blank._key(secret)).encrypt(_NONCE, keyring_secret, blank._bound_to(repository_id))
        return cls(id, kind, label, salt, blank.cost, sealed, added_at=at)

    def unwrap(self, secret: Secret, repository_id: bytes) -> bytes | None:
        """Return the keyring's secret, or None if *secret* is not the right one.

        Raises:
            Damaged: the cost is beyond any reason.
            Unavailable: there is not enough memory for Argon2.
        """
        try:
            return AESGCM(self._key(secret)).decrypt(_NONCE, self.wrapped, self._bound_to(repository_id))
        except InvalidTag:
            return None

    def _bound_to(self, repository_id: bytes) -> bytes:
        return b"restead 1 wrapping" + repository_id + bytes.fromhex(self.id) + self.kind.encode()

    def _key(self, secret: Secret) -> bytes:
        if isinstance(secret, Passphrase):
            return _stretched(secret.text, self.salt, self.cost or Cost())
        return blake3(b"restead 1 wrapping key" + self.salt, key=secret.secret).digest()

    def encode(self) -> dict[str, object]:
        """Return the wrapping as it stands in the keyring's clear part."""
        added = {"added_at": self.added_at.isoformat()} if self.added_at else {}
        return {
            **added,
            "id": self.id,
            "kind": self.kind.value,
            "label": self.label,
            "salt": self.salt.hex(),
            "cost": asdict(self.cost) if self.cost else None,
            "wrapped": self.wrapped.hex(),
            "confirmed_at": self.confirmed_at.isoformat() if self.confirmed_at else None,
        }

    @classmethod
    def decode(cls, fields: dict[str, Any]) -> "Wrapping":
        """Read one.  Raises KeyError, TypeError or ValueError if it is none."""
        cost, confirmed, added = fields["cost"], fields["confirmed_at"], fields.get("added_at")
        return cls(
            fields["id"],
            WrappingKind(fields["kind"]),
            fields["label"],
            bytes.fromhex(fields["salt"]),
            Cost(**cost) if cost else None,
            bytes.fromhex(fields["wrapped"]),
            datetime.fromisoformat(confirmed) if confirmed else None,
            datetime.fromisoformat(added) if added else None,
        )


def kind_of(secret: Secret) -> WrappingKind:
    return _KINDS[type(secret)]


def _stretched(text: str, salt: bytes, cost: Cost) -> bytes:
    if cost.passes > _MOST_PASSES or cost.memory > _MOST_MEMORY or cost.lanes > _MOST_LANES:
        raise Damaged(f"the keyring asks for {cost.passes} passes over {cost.memory} KiB for a passphrase")
    try:
        # NFC: the same words typed on another keyboard are the same bytes.
        words = unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")
        return hash_secret_raw(words, salt, cost.passes, cost.memory, cost.lanes, 32, Type.ID)
    except HashingError as error:
        raise Unavailable(f"the passphrase needs {cost.memory} KiB of memory to be tried", detail=str(error)) from error
