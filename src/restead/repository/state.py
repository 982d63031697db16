"""What the log says: the state that a replay arrives at.  States are values; `rules.py` computes the next one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from restead.domain.ids import ManifestId, ProjectId


class Phase(Enum):
    """How far a session is."""

    OPEN = "open"
    COMMITTED = "committed"
    ENDED = "ended"  # known only while it pins something, or by what it left


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as the log knows it."""

    number: int  # of its `open`
    label: str
    project: ProjectId
    reads: tuple[ManifestId, ...] = ()
    phase: Phase = Phase.OPEN
    manifests: tuple[ManifestId, ...] = ()  # what it committed
    pins: tuple[ManifestId, ...] = ()

    @property
    def open(self) -> bool:
        """True until it commits or ends."""
        return self.phase is Phase.OPEN

    @property
    def needs(self) -> tuple[ManifestId, ...]:
        """What must be kept for its sake."""
        # Who pins what it wrote over a disk also needs what stood there: its own manifests.
        return self.reads if self.open else (*self.pins, *self.manifests) if self.pins else ()


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A manifest as the log knows it."""

    id: ManifestId
    project: ProjectId
    root: bytes  # name of its root object, 32 bytes
    label: str
    session: int
    session_label: str


@dataclass(frozen=True, slots=True)
class Condemnation:
    """Packs that are to be removed, once *waits* have all committed or ended."""

    number: int
    packs: frozenset[bytes]
    waits: frozenset[int]  # sessions that were open at its number


@dataclass(frozen=True, slots=True)
class State:
    """Everything the log says up to entry *head*."""

    head: int = 0
    digest: bytes = bytes(32)  # of entry *head*
    sessions: Mapping[int, SessionState] = field(default_factory=dict)  # open, committed, or ended with pins
    manifests: Mapping[ManifestId, ManifestEntry] = field(default_factory=dict)
    partial: Mapping[ManifestId, ManifestEntry] = field(default_factory=dict)  # left by `progress`
    retained: Mapping[ManifestId, ManifestEntry] = field(default_factory=dict)  # deleted, but some session needs them
    holds: Mapping[ManifestId, frozenset[str]] = field(default_factory=dict)  # manifest → holders
    condemnations: Mapping[int, Condemnation] = field(default_factory=dict)  # not yet removed
    condemned: frozenset[bytes] = frozenset()  # every pack ever condemned

    @property
    def needed(self) -> dict[ManifestId, ManifestEntry]:
        """All manifests whose chunks must be kept."""
        return {**self.retained, **self.partial, **self.manifests}

    def labelled(self, label: str) -> list[SessionState]:
        """Return the sessions of that label, oldest first: living ones, and ended ones that left manifests."""
        left: dict[int, SessionState] = {}
        for entry in self.manifests.values():
            if entry.session_label == label and entry.session not in self.sessions:
                so_far = left.get(entry.session, SessionState(entry.session, label, entry.project, phase=Phase.ENDED))
                left[entry.session] = replace(so_far, manifests=(*so_far.manifests, entry.id))
        living = [session for session in self.sessions.values() if session.label == label]
        return sorted([*living, *left.values()], key=lambda session: session.number)

    def may_remove(self, condemnation: int) -> bool:
        """Tell whether no session can still build on what that condemnation names."""
        return not any(self.is_open(number) for number in self.condemnations[condemnation].waits)

    def is_open(self, number: int) -> bool:
        """Tell whether that session may still commit."""
        return number in self.sessions and self.sessions[number].open

