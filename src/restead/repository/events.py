"""What an entry of the log can say, and how it is written down.

    open s reads m…     a backup, restore, copy or verification begins, before it looks anything up
    commit s …          its manifests exist from now on; a restore's also pins what it will write
    progress s …        partial manifests of a long backup
    end s               the session is over, by itself or ended by someone who believes it dead
    delete m…           manifests that are no longer wanted
    hold m, release m   in between it cannot be deleted
    condemn k, packs    no new session may build on these packs, for ever
    removed k           they are gone

`state.py` says what follows from them.  A session's number is that of its `open`, a condemnation's that
of its `condemn`.  The payload is canonical JSON (docs/format.md, "The log").
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId, ProjectId

MOST_PER_ENTRY = 1_000  # manifests or packs named by one delete or condemn

Roots = Sequence[tuple[bytes, str]]  # (name of a manifest's root, label) each


@dataclass(frozen=True, slots=True)
class Open:
    """A session begins; what it reads counts as needed until it commits or ends."""

    label: str  # the caller's own mark, to find the session again
    project: ProjectId
    reads: Sequence[ManifestId] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """The session's manifests exist; *pins* (some of what it reads) stay needed until it is ended with unpin."""

    session: int
    manifests: Roots
    pins: Sequence[ManifestId] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Partial manifests: needed until a successor that reads them commits, or they are deleted."""

    session: int
    manifests: Roots


@dataclass(frozen=True, slots=True)
class End:
    """The session is over.  *unpin* is for its owner, a fenced successor, or an operator's explicit order."""

    session: int
    unpin: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """These manifests are no longer wanted."""

    manifests: Sequence[ManifestId]


@dataclass(frozen=True, slots=True)
class Hold:
    """The manifest cannot be deleted while *holder* holds it."""

    manifest: ManifestId
    holder: str


@dataclass(frozen=True, slots=True)
class Release:
    """*holder* lets the manifest go."""

    manifest: ManifestId
    holder: str


@dataclass(frozen=True, slots=True)
class Condemn:
    """No session that opens later may build on these packs (names of 32 bytes)."""

    packs: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Removed:
    """The packs of that condemnation are gone."""

    condemnation: int


Event = Open | Commit | Progress | End | Delete | Hold | Release | Condemn | Removed


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: who wrote it (a random id, to know one's own again), after what, saying what."""

    id: bytes  # 16 random bytes
    previous: bytes  # digest of the entry before, 32 bytes; zeroes for the first
    event: Event


def deletes(manifests: Sequence[ManifestId]) -> list[Delete]:
    """Return the entries it takes to delete any number of manifests."""
    return [Delete(manifests[at : at + MOST_PER_ENTRY]) for at in range(0, len(manifests), MOST_PER_ENTRY)]


def condemns(packs: Sequence[bytes]) -> list[Condemn]:
    """Return the entries it takes to condemn any number of packs."""
    return [Condemn(packs[at : at + MOST_PER_ENTRY]) for at in range(0, len(packs), MOST_PER_ENTRY)]


Json = dict[str, object]


def canonical(value: object) -> bytes:
    """Return *value* as JSON: sorted keys, no spaces, ASCII only, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def encode(entry: Entry) -> bytes:
    """Return the payload of an entry."""
    return canonical(
        {
            "id": entry.id.hex(),
            "previous": entry.previous.hex(),
            "event": type(entry.event).__name__.lower(),
            **{name: _plain(getattr(entry.event, name)) for name in type(entry.event).__dataclass_fields__},
        }
    )


def decode(payload: bytes, name: str) -> Entry:
    """Read the payload of the entry that is stored as *name*.

    Raises:
        Damaged: it is none, or it says something that only a newer program knows.
    """
    try:
        fields = json.loads(payload)
        read = _READERS.get(fields["event"])
        if read is None:
            raise Damaged(f"{name} says {fields['event']!r}, which this program does not know: use a newer one")
        return Entry(bytes.fromhex(fields["id"]), bytes.fromhex(fields["previous"]), read(fields))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{name} is sealed rightly but holds no log entry", detail=repr(error)) from error


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _ids(value: object) -> tuple[ManifestId, ...]:
    return tuple(ManifestId(text) for text in cast(list[str], value))


def _roots(value: object) -> tuple[tuple[bytes, str], ...]:
    return tuple((bytes.fromhex(root), label) for root, label in cast(list[tuple[str, str]], value))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


_READERS: Mapping[str, Callable[[Json], Event]] = {
    "open": lambda f: Open(str(f["label"]), ProjectId(str(f["project"])), _ids(f["reads"])),
    "commit": lambda f: Commit(_number(f["session"]), _roots(f["manifests"]), _ids(f["pins"])),
    "progress": lambda f: Progress(_number(f["session"]), _roots(f["manifests"])),
    "end": lambda f: End(_number(f["session"]), bool(f["unpin"])),
    "delete": lambda f: Delete(_ids(f["manifests"])),
    "hold": lambda f: Hold(ManifestId(str(f["manifest"])), str(f["holder"])),
    "release": lambda f: Release(ManifestId(str(f["manifest"])), str(f["holder"])),
    "condemn": lambda f: Condemn(tuple(bytes.fromhex(pack) for pack in cast(list[str], f["packs"]))),
    "removed": lambda f: Removed(_number(f["condemnation"])),
}
