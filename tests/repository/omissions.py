"""The real code with one of its rules left out: each shows that the interleavings can fail.

They change the code itself for a moment, on purpose and in one place: nothing here stands in for something else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.repository.house import PROJECT

import restead.repository.repository as repository
import restead.repository.rules as rules
import restead.repository.session as session
from restead.domain.ids import ManifestId, ProjectId
from restead.repository.collect import Collector
from restead.repository.events import Commit, Delete, Event
from restead.repository.live_keys import _Numbered
from restead.repository.state import ManifestEntry, SessionState, State

Change = tuple[Any, str, Any]  # what has the attribute, its name, its value without the rule


def _always(value: object) -> Callable[..., object]:
    return lambda *_args, **_named: value


def _void_commit() -> list[Change]:
    """A session that was ended commits all the same."""
    refusal, after = rules.refusal, rules._applied

    def refused(state: State, event: Event) -> object:
        return None if isinstance(event, Commit) else refusal(state, event)

    def applied(state: State, event: Event) -> State:
        if isinstance(event, Commit) and event.session not in state.sessions:
            ended = SessionState(event.session, "backup", PROJECT)
            state = replace(state, sessions={**state.sessions, event.session: ended})
        return after(state, event)

    return [(rules, "refusal", refused), (rules, "_applied", applied)]


def _void_open() -> list[Change]:
    """A session begins that reads what is deleted already, and perhaps collected."""
    every: dict[ManifestId, ManifestEntry] = {}
    after, visible = rules.after, repository._visible

    def remembering(state: State, *said: Any) -> State:
        moved = after(state, *said)
        every.update(state.needed)
        every.update(moved.needed)
        return moved

    def found(state: State, project: ProjectId, reads: Sequence[ManifestId]) -> list[ManifestEntry]:
        return [every.get(id) or visible(state, project, [id])[0] for id in reads]

    return [(rules, "after", remembering), (rules, "_unreadable", _always(None)), (repository, "_visible", found)]


def _needs(self: SessionState) -> tuple[ManifestId, ...]:
    return () if self.open else (*self.pins, *self.manifests) if self.pins else ()


def _without_pins(self: SessionState) -> tuple[ManifestId, ...]:
    return self.reads if self.open else ()


def _without_retained(self: State) -> Mapping[ManifestId, ManifestEntry]:
    return {**self.partial, **self.manifests}


def _without_partial(self: State) -> Mapping[ManifestId, ManifestEntry]:
    return {**self.retained, **self.manifests}


def _building_on_condemned() -> list[Change]:
    known = session.Known
    return [(session, "Known", lambda index, _condemned, lost: known(index, frozenset(), lost))]


def _deleting_what_is_held() -> list[Change]:
    refusal = rules.refusal

    def refused(state: State, event: Event) -> object:
        return None if isinstance(event, Delete) else refusal(state, event)

    return [(rules, "refusal", refused)]


def _old_keys(self: _Numbered, number: int) -> bytes:
    return self._current().sealing_keys[number]


# Rule that is left out → the code without it.
OMISSIONS: dict[str, Callable[[], list[Change]]] = {
    "a commit after the end is void": _void_commit,
    "an open that reads what is deleted is void": _void_open,
    "what an open session reads is needed": lambda: [(SessionState, "needs", property(_needs))],
    "pins are needed": lambda: [(SessionState, "needs", property(_without_pins))],
    "what is deleted while a session reads it is retained": lambda: [(State, "needed", property(_without_retained))],
    "noted progress is needed": lambda: [(State, "needed", property(_without_partial))],
    "nobody builds on condemned packs": _building_on_condemned,
    "a collector waits": lambda: [(State, "may_remove", _always(True))],
    "a collector copies": lambda: [(Collector, "_copy", _always(None))],
    "what is held is not deleted": _deleting_what_is_held,
    "unknown keys are looked up": lambda: [(_Numbered, "__getitem__", _old_keys)],
}


@contextmanager
def left_out(rule: str) -> Iterator[None]:
    """Let the code be without that rule while the block runs."""
    changes = OMISSIONS[rule]()
    before = [(where, name, where.__dict__[name]) for where, name, _ in changes]
    try:
        for where, name, value in changes:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
