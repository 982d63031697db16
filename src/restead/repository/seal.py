"""Sealing: the one header every stored object begins with, and whole small objects under it.

A sealed object is

    header (48 bytes) ‖ AES-256-GCM ciphertext and tag ‖ BLAKE3 of all bytes before (32 bytes)

The key is fresh for each object: keyed BLAKE3 of the header's random salt under a numbered sealing key.
So the nonce may be fixed.  The associated data bind header, repository and the object's identity (its
name in the store): nothing can stand in for anything else.  The trailing digest needs no key, so
anybody can scrub every bit of it; it doubles as the object's digest in the log's chain.

docs/format.md describes this byte by byte.
"""

import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from restead.domain.errors import Damaged

FORMAT = 1
MAGIC = b"restead\n"
KEY_SIZE = 32
SALT_SIZE = 32
TAG_SIZE = 16
DIGEST_SIZE = 32
REPOSITORY_ID_SIZE = 16

_HEADER = struct.Struct(f">{len(MAGIC)}sHHI{SALT_SIZE}s")
HEADER_SIZE = _HEADER.size
OVERHEAD = HEADER_SIZE + TAG_SIZE + DIGEST_SIZE  # bytes a sealed object is longer than its contents
_NONCE = bytes(12)  # safe only because no key is used twice


class Kind(IntEnum):
    """What an object is; part of its header and of its key.  Numbers are never used again."""

    PACK = 1
    CHUNK = 2
    PAGE = 3
    ROOT = 4
    CONTENTS = 5
    INDEX = 6
    LOG = 7
    SNAPSHOT = 8
    KEYRING = 9
    SERVICE = 10


class SealingKeys(Protocol):
    """Numbered keys of 32 bytes, and which of them seals what is new."""

    @property
    def sealing_keys(self) -> Mapping[int, bytes]: ...

    @property
    def newest(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Header:
    """The first 48 bytes of every stored object: magic, format 1, kind, sealing key number, salt."""

    kind: Kind
    key_number: int
    salt: bytes  # 32 random bytes

    @classmethod
    def fresh(cls, kind: Kind, key_number: int) -> "Header":
        """Return a header with a new random salt."""
        return cls(kind, key_number, os.urandom(SALT_SIZE))

    def encode(self) -> bytes:
        return _HEADER.pack(MAGIC, FORMAT, self.kind, self.key_number, self.salt)

    @classmethod
    def decode(cls, data: bytes | memoryview, kind: Kind, name: str) -> "Header":
        """Read the header at the start of object *name*, which must be of that *kind*.

        Raises:
            Damaged: too short, not ours, of another format or of another kind.
        """
        if len(data) < HEADER_SIZE:
            raise Damaged(f"{name} holds {len(data)} bytes, its header alone has {HEADER_SIZE}")
        magic, version, found, key_number, salt = _HEADER.unpack_from(data)
        if magic != MAGIC:
            raise Damaged(f"{name} does not begin as an object of this repository")
        if version != FORMAT:
            raise Damaged(f"{name} is of format {version}, this program reads format {FORMAT}")
        if found != kind:
            raise Damaged(f"{name} is of kind {found}, expected {kind.value} ({kind.name.lower()})")
        return cls(kind, key_number, salt)


def derive_key(sealing_key: bytes, kind: Kind, salt: bytes) -> bytes:
    """Return the 32-byte key of the one object that has this *salt*: keyed BLAKE3, separated by *kind*."""
    return blake3(b"restead 1 object key" + struct.pack(">H", kind) + salt, key=sealing_key).digest()


def sealing_key(keys: SealingKeys, number: int, name: str) -> bytes:
    """Return that numbered key.  Raises Damaged, naming object *name*, if there is none."""
    try:
        return keys.sealing_keys[number]
    except KeyError:
        raise Damaged(f"{name} is sealed with key {number}, which the keyring does not hold") from None


def associated_data(header: bytes, repository_id: bytes, identity: bytes) -> bytes:
    """Return what a ciphertext is bound to: whole header, repository id (16 bytes), identity."""
    return header + repository_id + identity


def seal(keys: SealingKeys, repository_id: bytes, kind: Kind, identity: bytes, plain: bytes) -> bytes:
    """Return *plain* sealed with the newest key, to be stored as the object *identity*."""
    header = Header.fresh(kind, keys.newest)
    return seal_under(header, keys.sealing_keys[header.key_number], repository_id, identity, plain)


def seal_under(header: Header, key: bytes, repository_id: bytes, identity: bytes, plain: bytes) -> bytes:
    """Return *plain* sealed under a given header.  Never call it twice with one salt and different bytes."""
    head = header.encode()
    cipher = AESGCM(derive_key(key, header.kind, header.salt))
    body = head + cipher.encrypt(_NONCE, plain, associated_data(head, repository_id, identity))
    return body + digest_of(body)


def unseal(keys: SealingKeys, repository_id: bytes, kind: Kind, identity: bytes, sealed: bytes) -> bytes:
    """Return the contents of the object *identity*.

    Raises:
        Damaged: any bit of it is not what was sealed, or it was sealed as something else.
    """
    name = _readable(identity)
    scrub(sealed, name)
    header = Header.decode(sealed, kind, name)
    cipher = AESGCM(derive_key(sealing_key(keys, header.key_number, name), kind, header.salt))
    head, body = sealed[:HEADER_SIZE], sealed[HEADER_SIZE:-DIGEST_SIZE]
    try:
        return cipher.decrypt(_NONCE, body, associated_data(head, repository_id, identity))
    except InvalidTag:
        raise Damaged(f"{name} was not sealed as {name} of this repository: forged or swapped") from None


def scrub(sealed: bytes, name: str) -> bytes:
    """Check every bit of a sealed object without any key and return its digest (32 bytes).

    Raises:
        Damaged: it is too short or its digest does not match.
    """
    if len(sealed) < OVERHEAD:
        raise Damaged(f"{name} holds {len(sealed)} bytes, a sealed object has at least {OVERHEAD}")
    body, digest = sealed[:-DIGEST_SIZE], sealed[-DIGEST_SIZE:]
    if not hmac.compare_digest(digest_of(body), digest):
        raise Damaged(f"{name} is damaged: its {len(sealed)} bytes do not match their digest")
    return digest


def digest_of(body: bytes) -> bytes:
    """Return BLAKE3-256 of *body*."""
    return blake3(body).digest()


def _readable(identity: bytes) -> str:
    text = identity.decode("latin-1")
    return text if text.isascii() and text.isprintable() else identity.hex()
