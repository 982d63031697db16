"""The state of the log written down, so that a replay need not begin at the first entry.

Deterministic: equal states are equal bytes, and anybody with the key can check one by replaying.
"""

import json
from collections.abc import Mapping
from typing import Any

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId, ProjectId
from restead.repository.events import canonical
from restead.repository.state import Condemnation, ManifestEntry, Phase, SessionState, State

_Entries = Mapping[ManifestId, ManifestEntry]
_Json = dict[str, Any]  # what json.loads returns; whatever is wrong in it ends as Damaged in `decode`


def encode(state: State) -> bytes:
    """Return *state* as canonical JSON (docs/format.md, "Snapshots")."""
    return canonical(
        {
            "head": state.head,
            "digest": state.digest.hex(),
            "sessions": {str(number): _session(one) for number, one in state.sessions.items()},
            "manifests": _entries(state.manifests),
            "partial": _entries(state.partial),
            "retained": _entries(state.retained),
            "holds": {id: sorted(holders) for id, holders in state.holds.items()},
            "condemnations": {
                str(number): {"packs": _packs(one.packs), "waits": sorted(one.waits)}
                for number, one in state.condemnations.items()
            },
            "condemned": _packs(state.condemned),
        }
    )


def decode(plain: bytes, name: str) -> State:
    """Read the snapshot that is stored as *name*.

    Raises:
        Damaged: it is none, or of another number than its name.
    """
    try:
        state = _state(json.loads(plain))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{name} is sealed rightly but holds no snapshot", detail=repr(error)) from error
    if name != f"snapshot/{state.head}":
        raise Damaged(f"{name} holds the snapshot of entry {state.head}")
    return state


def _session(session: SessionState) -> dict[str, object]:
    return {
        "label": session.label,
        "project": session.project,
        "reads": list(session.reads),
        "phase": session.phase.value,
        "manifests": list(session.manifests),
        "pins": list(session.pins),
    }


def _entries(entries: _Entries) -> dict[str, object]:
    return {
        id: [entry.project, entry.root.hex(), entry.label, entry.session, entry.session_label]
        for id, entry in entries.items()
    }


def _packs(packs: frozenset[bytes]) -> list[str]:
    return sorted(pack.hex() for pack in packs)


def _state(fields: _Json) -> State:
    return State(
        head=int(fields["head"]),
        digest=bytes.fromhex(fields["digest"]),
        sessions={int(number): _read_session(int(number), one) for number, one in fields["sessions"].items()},
        manifests=_read_entries(fields["manifests"]),
        partial=_read_entries(fields["partial"]),
        retained=_read_entries(fields["retained"]),
        holds={ManifestId(id): frozenset(holders) for id, holders in fields["holds"].items()},
        condemnations={
            int(number): Condemnation(int(number), _read_packs(one["packs"]), frozenset(one["waits"]))
            for number, one in fields["condemnations"].items()
        },
        condemned=_read_packs(fields["condemned"]),
    )


def _read_session(number: int, fields: _Json) -> SessionState:
    return SessionState(
        number,
        fields["label"],
        ProjectId(fields["project"]),
        reads=tuple(fields["reads"]),
        phase=Phase(fields["phase"]),
        manifests=tuple(fields["manifests"]),
        pins=tuple(fields["pins"]),
    )


def _read_entries(fields: _Json) -> _Entries:
    return {
        ManifestId(id): ManifestEntry(ManifestId(id), project, bytes.fromhex(root), label, session, session_label)
        for id, (project, root, label, session, session_label) in fields.items()
    }


def _read_packs(names: list[str]) -> frozenset[bytes]:
    return frozenset(bytes.fromhex(name) for name in names)
