"""One version of the keyring as bytes.

    header (48 bytes, kind KEYRING, key number 0) ‖ length of the clear part (4 bytes) ‖ clear part ‖
    body, sealed under the keyring's secret and bound to all before it ‖ BLAKE3 of all bytes before

Clear part and body are canonical JSON: docs/format.md, "The keyring".
"""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from restead.domain.errors import Damaged
from restead.domain.ids import ProjectId
from restead.repository.events import canonical
from restead.repository.seal import (
    DIGEST_SIZE,
    HEADER_SIZE,
    KEY_SIZE,
    REPOSITORY_ID_SIZE,
    Header,
    Kind,
    associated_data,
    derive_key,
    digest_of,
    scrub,
)
from restead.repository.wrapping import Wrapping

_LENGTH = struct.Struct(">I")
_NONCE = bytes(12)  # the header's salt makes the key fresh
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # what JSON of another shape leads to


@dataclass(frozen=True, slots=True)
class ControlKeys:
    """Keys of what belongs to no project: the log and its snapshots."""

    name_key: bytes = field(repr=False)
    sealing_keys: Mapping[int, bytes] = field(repr=False)
    newest: int


@dataclass(frozen=True, slots=True)
class ProjectKeys:
    """Keys of one project: a name key that never changes, and numbered sealing keys.

    All are random, none is derived from another: who destroys them erases the project.
    """

    project: ProjectId
    name_key: bytes = field(repr=False)  # 32 bytes
    sealing_keys: Mapping[int, bytes] = field(repr=False)
    newest: int  # number of the sealing key for new packs


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything one version of the keyring says."""

    number: int
    first: int  # the lowest version that must still be there
    previous: bytes  # digest of the version before; zeroes for the first
    repository_id: bytes
    chunk_size: int  # bytes
    control: ControlKeys
    projects: Mapping[ProjectId, ProjectKeys]
    wrappings: tuple[Wrapping, ...]


@dataclass(frozen=True, slots=True)
class Locked:
    """A version of which only the clear part has been read."""

    name: str
    repository_id: bytes
    number: int
    wrappings: tuple[Wrapping, ...]
    sealed: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        return self.sealed[-DIGEST_SIZE:]

    def unlocked(self, keyring_secret: bytes) -> Contents:
        """Return the contents.  Raises Damaged: forged or swapped, or of another secret."""
        header, at = Header.decode(self.sealed, Kind.KEYRING, self.name), _body_offset(self.sealed)
        bound = associated_data(self.sealed[:at], self.repository_id, self.name.encode())
        cipher = AESGCM(derive_key(keyring_secret, Kind.KEYRING, header.salt))
        try:
            body = cipher.decrypt(_NONCE, self.sealed[at:-DIGEST_SIZE], bound)
            return _contents(self, json.loads(body))
        except InvalidTag:
            raise Damaged(f"{self.name} was not sealed as {self.name} of this repository: forged or swapped") from None
        except _UNREADABLE as error:
            raise Damaged(f"{self.name} is sealed rightly but holds no keyring", detail=repr(error)) from error


def encode(contents: Contents, keyring_secret: bytes, header: Header | None = None) -> bytes:
    """Return that version as it is stored, with a fresh salt unless a whole *header* is given."""
    clear = canonical(
        {
            "repository": contents.repository_id.hex(),
            "number": contents.number,
            "wrappings": [wrapping.encode() for wrapping in contents.wrappings],
        }
    )
    body = canonical(
        {
            "first": contents.first,
            "previous": contents.previous.hex(),
            "chunk_size": contents.chunk_size,
            "control": _keys(contents.control),
            "projects": {project: _keys(keys) for project, keys in contents.projects.items()},
        }
    )
    header = header or Header.fresh(Kind.KEYRING, 0)
    head = header.encode() + _LENGTH.pack(len(clear)) + clear
    bound = associated_data(head, contents.repository_id, name_of(contents.number).encode())
    sealed = head + AESGCM(derive_key(keyring_secret, Kind.KEYRING, header.salt)).encrypt(_NONCE, body, bound)
    return sealed + digest_of(sealed)


def decode(sealed: bytes, name: str) -> Locked:
    """Read what can be read of the version stored as *name* without any secret.

    Raises:
        Damaged: any bit of it is not what was stored, or it is another version.
    """
    scrub(sealed, name)
    Header.decode(sealed, Kind.KEYRING, name)
    try:
        clear = json.loads(sealed[HEADER_SIZE + _LENGTH.size : _body_offset(sealed)])
        wrappings = tuple(Wrapping.decode(fields) for fields in clear["wrappings"])
        locked = Locked(name, bytes.fromhex(clear["repository"]), int(clear["number"]), wrappings, sealed)
    except _UNREADABLE as error:
        raise Damaged(f"{name} holds no keyring", detail=repr(error)) from error
    if name_of(locked.number) != name or len(locked.repository_id) != REPOSITORY_ID_SIZE:
        raise Damaged(f"{name} holds {name_of(locked.number)}: swapped")
    return locked


def name_of(number: int) -> str:
    return f"keyring/{number}"


def fresh_control() -> ControlKeys:
    return ControlKeys(os.urandom(KEY_SIZE), {1: os.urandom(KEY_SIZE)}, 1)


def fresh_project(project: ProjectId) -> ProjectKeys:
    return ProjectKeys(project, os.urandom(KEY_SIZE), {1: os.urandom(KEY_SIZE)}, 1)


def _body_offset(sealed: bytes) -> int:
    (length,) = _LENGTH.unpack_from(sealed, HEADER_SIZE)
    return HEADER_SIZE + _LENGTH.size + int(length)


def _keys(keys: ControlKeys | ProjectKeys) -> dict[str, object]:
    return {
        "name": keys.name_key.hex(),
        "sealing": {str(number): key.hex() for number, key in keys.sealing_keys.items()},
        "newest": keys.newest,
    }


def _contents(locked: Locked, body: dict[str, Any]) -> Contents:
    return Contents(
        number=locked.number,
        first=int(body["first"]),
        previous=bytes.fromhex(body["previous"]),
        repository_id=locked.repository_id,
        chunk_size=int(body["chunk_size"]),
        control=ControlKeys(*_read_keys(body["control"])),
        projects={
            ProjectId(project): ProjectKeys(ProjectId(project), *_read_keys(keys))
            for project, keys in body["projects"].items()
        },
        wrappings=locked.wrappings,
    )


def _read_keys(fields: dict[str, Any]) -> tuple[bytes, dict[int, bytes], int]:
    sealing = {int(number): bytes.fromhex(key) for number, key in fields["sealing"].items()}
    return bytes.fromhex(fields["name"]), sealing, int(fields["newest"])
