"""What only the service knows, kept in the repository: `service/<n>`, sealed; the highest number counts.

The repository does not look into it: it is JSON in, JSON out.  Each copy is complete, so old ones may be deleted by
whoever may delete anything.  Like the log's, a number is given once: of two writers one wins, and the other sees it.
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from restead.domain.errors import Damaged, InvalidRequest, NotFound
from restead.ports import BlobStore
from restead.repository.chunk import Form, Press, expand
from restead.repository.events import canonical
from restead.repository.seal import Kind, SealingKeys, seal, unseal

MOST_BYTES = 256 << 20  # of JSON in one copy: some hundred thousand backups
KEPT = 5  # copies; more than one, because a store may damage the newest

_PREFIX = "service/"
_NUMBER = re.compile(r"[1-9][0-9]*")
_HEAD = struct.Struct(">BI")  # form, bytes of the JSON


@dataclass(frozen=True, slots=True)
class ServiceCopy:
    """One copy: who wrote it, after which entry of which repository's log, and what it holds."""

    service: str  # random id of the service: hexadecimal digits
    repository: str  # id of the repository it was written for, hexadecimal digits
    head: int  # newest entry of the log that the service knew
    digest: bytes  # of that entry, 32 bytes
    parts: Mapping[str, Any]  # name → JSON; readers ignore names that they do not know

    def encode(self) -> bytes:
        """Return the plain contents of the object."""
        text = canonical(
            {
                "service": self.service, "repository": self.repository, "head": self.head,
                "digest": self.digest.hex(), "parts": self.parts,
            }
        )  # fmt: skip
        if len(text) > MOST_BYTES:
            raise InvalidRequest(f"what the service knows has {len(text)} bytes, at most {MOST_BYTES} can be kept")
        form, body = Press().press(text)
        return _HEAD.pack(form, len(text)) + body

    @classmethod
    def decode(cls, plain: bytes, name: str) -> "ServiceCopy":
        """Read what `encode` has written.  Raises Damaged."""
        try:
            form, size = _HEAD.unpack_from(plain)
            if size > MOST_BYTES:
                raise Damaged(f"{name} says that it holds {size} bytes, at most {MOST_BYTES} can be")
            body = plain[_HEAD.size :]
            text = body if Form(form) is Form.RAW else expand(body, size, name)
            if len(text) != size:
                raise Damaged(f"{name} holds {len(text)} bytes, it says {size}")
            told = json.loads(text)
            return cls(
                str(told["service"]), str(told["repository"]), int(told["head"]), bytes.fromhex(told["digest"]),
                dict(told["parts"]),
            )  # fmt: skip
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"{name} is sealed rightly but holds no copy of a service", detail=repr(error)) from error


class ServiceCopies:
    """The copies in one store."""

    def __init__(self, store: BlobStore, keys: SealingKeys, repository_id: bytes) -> None:
        self._store = store
        self._keys = keys
        self._repository_id = repository_id

    def numbers(self) -> list[int]:
        """Return the numbers of the copies that the store lists, newest first."""
        found = (name.removeprefix(_PREFIX) for name, _ in self._store.list(_PREFIX))
        return sorted((int(number) for number in found if _NUMBER.fullmatch(number)), reverse=True)

    def copy(self, number: int) -> ServiceCopy:
        """Return that copy.  Raises NotFound, Damaged."""
        name = _name(number)
        sealed = self._store.get(name)
        return ServiceCopy.decode(
            unseal(self._keys, self._repository_id, Kind.SERVICE, name.encode(), sealed), name
        )

    def newest_first(self) -> Iterator[tuple[int, ServiceCopy | Damaged]]:
        """Yield each with its number, or why it cannot be read: a damaged one hides no other."""
        for number in self.numbers():
            try:
                yield number, self.copy(number)
            except NotFound:
                continue  # deleted since it was listed
            except Damaged as error:
                yield number, error

    def put(self, copy: ServiceCopy, number: int) -> bool:
        """Store *copy* durably as that number unless it is taken; tell whether we did."""
        name = _name(number)
        sealed = seal(self._keys, self._repository_id, Kind.SERVICE, name.encode(), copy.encode())
        # False may mean that our own put went through before its reply was lost.
        return self._store.put(name, sealed) or self._is(name, sealed)

    def forget_old(self, newest: int, kept: int = KEPT) -> int:
        """Delete all but the last *kept* up to *newest*; return how many there were.

        Raises what the store raises where nothing may be deleted.
        """
        old = [number for number in self.numbers() if number <= newest - kept]
        for number in old:
            self._store.delete(_name(number))
        return len(old)

    def _is(self, name: str, sealed: bytes) -> bool:
        try:
            return self._store.get(name) == sealed
        except NotFound:
            return False


def _name(number: int) -> str:
    return f"{_PREFIX}{number}"
