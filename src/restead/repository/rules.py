"""What follows from an entry: the rules of the log.

`refusal` says why an event would be void, `after` computes the next state.  A void entry stays in the
chain and changes nothing.  No clock, listing or lock has a say, so every replay decides alike.

    open       void if it reads a manifest that is neither live nor partial
    commit     void unless its session is open; void if it pins what its session does not read
    progress   void unless its session is open
    end        void if its session is not known any more
    delete     void while somebody holds one of the manifests, or if none of them is there
    hold       void if the manifest is not live
    release    void if that holder does not hold it
    condemn    never void; a pack may be condemned again
    removed    void if the condemnation is not known, or a session it waits for is open

tests/repository/log_model.py explores these rules, and shows what is lost without each.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from restead.domain.errors import Code, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.domain.ids import ManifestId
from restead.repository.events import Commit, Condemn, Delete, End, Event, Hold, Open, Progress, Release, Removed, Roots
from restead.repository.state import Condemnation, ManifestEntry, Phase, SessionState, State


def refusal(state: State, event: Event) -> ResteadError | None:
    """Return why *event* would be void as the next entry, or None."""
    match event:
        case Open():
            return _unreadable(state, event)
        case Commit():
            return _not_open(state, event.session) or _not_read(state, event)
        case Progress():
            return _not_open(state, event.session)
        case End():
            return None if event.session in state.sessions else NotFound(f"session {event.session} is over")
        case Delete():
            return _undeletable(state, event)
        case Hold():
            return None if event.manifest in state.manifests else NotFound(f"there is no manifest {event.manifest}")
        case Release():
            return _not_held(state, event)
        case Condemn():
            return None
        case Removed():
            return _not_removable(state, event)


def after(state: State, number: int, digest: bytes, event: Event) -> State:
    """Return the state after entry *number*, whose digest is *digest*."""
    moved = replace(state, head=number, digest=digest)
    return moved if refusal(state, event) else _applied(moved, event)


def _unreadable(state: State, event: Open) -> ResteadError | None:
    for manifest in event.reads:
        if manifest not in state.manifests and manifest not in state.partial:
            return NotFound(f"there is no manifest {manifest}", code=Code.BACKUP_NOT_FOUND)
    return None


def _not_open(state: State, number: int) -> ResteadError | None:
    if state.is_open(number):
        return None
    # Retryable: whoever believed it dead was wrong, and the same work may begin again under a new session.
    how = "has committed already" if number in state.sessions else "was ended by somebody else"
    return Unavailable(f"session {number} {how}")


def _not_read(state: State, event: Commit) -> ResteadError | None:
    reads = state.sessions[event.session].reads
    for manifest in event.pins:
        if manifest not in reads:
            return InvalidRequest(f"session {event.session} pins manifest {manifest}, which it does not read")
    return None


def _undeletable(state: State, event: Delete) -> ResteadError | None:
    for manifest in event.manifests:
        if holders := state.holds.get(manifest):
            return InvalidRequest(f"manifest {manifest} is held by {', '.join(sorted(holders))}")
    if not any(manifest in state.manifests or manifest in state.partial for manifest in event.manifests):
        return NotFound(f"there is no manifest {', '.join(event.manifests)}")
    return None


def _not_held(state: State, event: Release) -> ResteadError | None:
    if event.holder in state.holds.get(event.manifest, ()):
        return None
    return NotFound(f"manifest {event.manifest} is not held by {event.holder}")


def _not_removable(state: State, event: Removed) -> ResteadError | None:
    if event.condemnation not in state.condemnations:
        return NotFound(f"condemnation {event.condemnation} is over")
    if not state.may_remove(event.condemnation):
        waits = state.condemnations[event.condemnation].waits
        still = ", ".join(str(number) for number in sorted(waits) if state.is_open(number))
        return Unavailable(f"condemnation {event.condemnation} waits for session {still}")
    return None


def _applied(state: State, event: Event) -> State:
    match event:
        case Open():
            opened = SessionState(state.head, event.label, event.project, tuple(event.reads))
            return _with_session(state, opened)
        case Commit():
            return _committed(state, event)
        case Progress():
            return replace(state, partial={**state.partial, **_entries(state, event.session, event.manifests)})
        case End():
            return _ended(state, event)
        case Delete():
            return _without(state, event.manifests)
        case Hold():
            return _with_holders(state, event.manifest, state.holds.get(event.manifest, frozenset()) | {event.holder})
        case Release():
            return _with_holders(state, event.manifest, state.holds[event.manifest] - {event.holder})
        case Condemn():
            return _condemned(state, event)
        case Removed():
            left = {number: one for number, one in state.condemnations.items() if number != event.condemnation}
            return replace(state, condemnations=left)


def _committed(state: State, event: Commit) -> State:
    session = state.sessions[event.session]
    made = _entries(state, event.session, event.manifests)
    moved = replace(session, phase=Phase.COMMITTED, manifests=tuple(made), pins=tuple(event.pins))
    partial = state.partial.items()
    taken_over = [id for id, entry in partial if entry.session == event.session or id in session.reads]
    with_manifests = replace(state, manifests={**state.manifests, **made})
    return _without(_with_session(with_manifests, moved), taken_over)


def _ended(state: State, event: End) -> State:
    session = state.sessions[event.session]
    if session.pins and not event.unpin:
        return _with_session(state, replace(session, phase=Phase.ENDED))
    left = {number: one for number, one in state.sessions.items() if number != event.session}
    return _pruned(replace(state, sessions=left))


def _condemned(state: State, event: Condemn) -> State:
    packs = frozenset(event.packs)
    waits = frozenset(number for number, session in state.sessions.items() if session.open)
    listed = {**state.condemnations, state.head: Condemnation(state.head, packs, waits)}
    return replace(state, condemnations=listed, condemned=state.condemned | packs)


def _entries(state: State, number: int, roots: Roots) -> dict[ManifestId, ManifestEntry]:
    session = state.sessions[number]
    ids = [ManifestId(f"{state.head}.{ordinal}") for ordinal in range(len(roots))]
    return {
        id: ManifestEntry(id, session.project, root, label, number, session.label)
        for id, (root, label) in zip(ids, roots, strict=True)
    }


def _with_session(state: State, session: SessionState) -> State:
    return _pruned(replace(state, sessions={**state.sessions, session.number: session}))


def _with_holders(state: State, manifest: ManifestId, holders: frozenset[str]) -> State:
    others = {id: held for id, held in state.holds.items() if id != manifest}
    return replace(state, holds={**others, manifest: holders} if holders else others)


def _without(state: State, ids: Iterable[ManifestId]) -> State:
    """Drop manifests and partial ones; those that a session still needs are retained until it needs them no more."""
    gone = set(ids)
    dropped = {id: entries[id] for entries in (state.partial, state.manifests) for id in gone if id in entries}
    return _pruned(
        replace(
            state,
            manifests=_less(state.manifests, gone),
            partial=_less(state.partial, gone),
            retained={**state.retained, **dropped},
        )
    )


def _less(entries: Mapping[ManifestId, ManifestEntry], gone: set[ManifestId]) -> Mapping[ManifestId, ManifestEntry]:
    if gone.isdisjoint(entries):
        return entries
    return {id: entry for id, entry in entries.items() if id not in gone}


def _pruned(state: State) -> State:
    if not state.retained:
        return state
    needed = {id for session in state.sessions.values() for id in session.needs}
    return replace(state, retained={id: entry for id, entry in state.retained.items() if id in needed})
