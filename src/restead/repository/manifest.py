"""Manifests: what one disk held at one moment.

A manifest's root object says how large the disk is, the name of its page tree's top, and whatever else is needed
to restore it when nothing but the repository is left.  The root's name proves the whole disk.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId, ProjectId
from restead.repository.events import canonical

_HEAD = struct.Struct(">IQ32sI")  # chunk size, disk size, top, length of the description
ROOT_LIMIT = 16 << 20  # bytes; a description of a server is some KiB


@dataclass(frozen=True, slots=True)
class DiskDescription:
    """What is known of a disk besides its bytes."""

    role: str  # "system" or "data"
    taken_at: datetime  # the moment the bytes show, aware
    consistency: str  # a value of ports.Consistency
    server: Mapping[str, object] = field(default_factory=dict)  # JSON: whatever it takes to make the server again


@dataclass(frozen=True, slots=True)
class Root:
    """The contents of a root object."""

    size: int  # bytes of the disk
    chunk_size: int  # bytes
    top: bytes  # name of the page tree's top; 32 zero bytes: the disk is all zero
    description: DiskDescription

    @property
    def chunks(self) -> int:
        return -(-self.size // self.chunk_size)

    def encode(self) -> bytes:
        """Return the one way to write this root."""
        about = self.description
        fields = {
            "consistency": about.consistency,
            "role": about.role,
            "server": about.server,
            "taken_at": about.taken_at.astimezone(UTC).isoformat(timespec="microseconds"),
        }
        text = canonical(fields)
        plain = _HEAD.pack(self.chunk_size, self.size, self.top, len(text)) + text
        if len(plain) > ROOT_LIMIT:
            raise ValueError(f"the description of the disk has {len(text)} bytes, at most {ROOT_LIMIT} are possible")
        return plain

    @classmethod
    def decode(cls, plain: bytes, what: str) -> "Root":
        """Read a root object.  Raises Damaged if it is not one."""
        if len(plain) < _HEAD.size:
            raise Damaged(f"{what} holds {len(plain)} bytes, a root has at least {_HEAD.size}")
        chunk_size, size, top, length = _HEAD.unpack_from(plain)
        if chunk_size == 0 or len(plain) != _HEAD.size + length:
            raise Damaged(f"{what} holds {len(plain)} bytes, it says {_HEAD.size + length}")
        try:
            fields = json.loads(plain[_HEAD.size :])
            taken_at = datetime.fromisoformat(fields["taken_at"])
            about = DiskDescription(fields["role"], taken_at, fields["consistency"], fields["server"])
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{what} has a description that cannot be read", detail=str(error)) from error
        return cls(size, chunk_size, top, about)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that is in the log, with the root object it names."""

    id: ManifestId
    project: ProjectId
    label: str
    root_name: bytes
    root: Root

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.root.size

    @property
    def description(self) -> DiskDescription:
        return self.root.description


