"""The log: one order whoever races for it, and the same state from every replay."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.repository.log_parts import PACK, ROOT, P, fields, filled, m, put_raw, the_log

from restead.domain.errors import InvalidRequest, NotFound, ResteadError, Unavailable
from restead.drivers.blobs import MemoryBlobs
from restead.ports import Buffer
from restead.repository.log import (
    Commit,
    Condemn,
    Delete,
    End,
    Event,
    Hold,
    Open,
    Phase,
    Progress,
    Release,
    Removed,
    State,
    condemns,
    deletes,
)

# What is said


def test_entries_are_numbered_and_everybody_sees_the_same_state() -> None:
    store = MemoryBlobs()
    one, two = the_log(store), the_log(store)
    assert [one.append(Open("a", P)), two.append(Open("b", P)), one.append(End(2)), two.append(End(1))] == [1, 2, 3, 4]
    assert one.refresh() == two.refresh() == the_log(store).refresh()


def test_the_state_says_what_was_said() -> None:
    state = filled(MemoryBlobs()).refresh()
    assert {number: (s.label, s.phase, s.reads, s.pins) for number, s in state.sessions.items()} == {
        4: ("restore 1", Phase.COMMITTED, ("2.0",), ("2.0",)),
        6: ("backup 2", Phase.OPEN, ("2.0",), ()),
    }
    assert [(e.id, e.root, e.label, e.session, e.session_label, e.project) for e in state.manifests.values()] == [
        ("2.1", ROOT[::-1], "vdb", 1, "backup 1", P)
    ]
    assert set(state.partial) == {"7.0"}
    assert set(state.retained) == {"2.0"}
    assert set(state.needed) == {"2.0", "2.1", "7.0"}
    assert state.holds == {"2.1": {"operator"}}
    assert state.condemned == {PACK, PACK[::-1]}
    assert state.condemnations[11].waits == {6}


def test_a_session_is_found_again_by_its_label() -> None:
    """Also when its workflow died after the commit, or after the end."""
    log = the_log(MemoryBlobs())
    for _ in range(2):
        number = log.append(Open("backup of web-1", P))
        log.append(Commit(number, [(ROOT, "vda"), (ROOT, "vdb")]))
        log.append(End(number))
    log.append(Open("another", P))
    living = log.append(Open("backup of web-1", P))
    found = log.refresh().labelled("backup of web-1")
    assert [(s.number, s.phase, s.manifests) for s in found] == [
        (1, Phase.ENDED, ("2.0", "2.1")),
        (4, Phase.ENDED, ("5.0", "5.1")),
        (living, Phase.OPEN, ()),
    ]


VOID: list[tuple[Event, type[ResteadError], str]] = [
    (Open("x", P, [m("9.9")]), NotFound, "there is no manifest 9.9"),
    (Open("x", P, [m("2.0")]), NotFound, "there is no manifest 2.0"),
    (Commit(1, []), Unavailable, "session 1 was ended by somebody else"),
    (Commit(4, []), Unavailable, "session 4 has committed already"),
    (Commit(99, []), Unavailable, "session 99 was ended"),
    (Commit(6, [], [m("2.1")]), InvalidRequest, "session 6 pins manifest 2.1, which it does not read"),
    (Progress(1, []), Unavailable, "session 1 was ended"),
    (Progress(4, []), Unavailable, "session 4 has committed already"),
    (End(1), NotFound, "session 1 is over"),
    (Delete([m("2.1")]), InvalidRequest, "manifest 2.1 is held by operator"),
    (Delete([m("2.0")]), NotFound, "there is no manifest 2.0"),
    (Delete([m("7.0"), m("2.1")]), InvalidRequest, "manifest 2.1 is held by operator"),
    (Hold(m("2.0"), "x"), NotFound, "there is no manifest 2.0"),
    (Hold(m("7.0"), "x"), NotFound, "there is no manifest 7.0"),
    (Release(m("2.1"), "policy"), NotFound, "manifest 2.1 is not held by policy"),
    (Removed(3), NotFound, "condemnation 3 is over"),
    (Removed(11), Unavailable, "condemnation 11 waits for session 6"),
]


@pytest.mark.parametrize(("event", "error", "says"), VOID)
def test_a_void_event_is_refused_and_changes_nothing_if_it_is_written(
    event: Event, error: type[ResteadError], says: str
) -> None:
    store = MemoryBlobs()
    log = filled(store)
    before = log.refresh()
    with pytest.raises(error, match=says):
        log.append(event)
    assert log.refresh() == before
    put_raw(store, log, event)
    after = log.refresh()
    assert after.head == before.head + 1
    assert after == State(**{**fields(before), "head": after.head, "digest": after.digest})


def test_what_a_session_reads_is_needed_until_it_commits_or_ends() -> None:
    for last in (Commit(3, []), End(3)):
        log = the_log(MemoryBlobs())
        log.append(Open("a", P))
        log.append(Commit(1, [(ROOT, "vda")]))
        log.append(Open("b", P, [m("2.0")]))
        log.append(Delete([m("2.0")]))
        assert set(log.refresh().needed) == {"2.0"}
        log.append(last)
        assert set(log.refresh().needed) == set()


def test_pins_outlive_every_end_but_one_that_says_unpin() -> None:
    log = the_log(MemoryBlobs())
    log.append(Open("backup", P))
    log.append(Commit(1, [(ROOT, "vda")]))
    log.append(Open("restore", P, [m("2.0")]))
    log.append(Commit(3, [], [m("2.0")]))
    log.append(Delete([m("2.0")]))
    log.append(End(3))
    assert log.refresh().sessions[3].phase is Phase.ENDED
    assert set(log.refresh().needed) == {"2.0"}
    log.append(End(3, unpin=True))
    assert set(log.refresh().needed) == set()
    assert set(log.refresh().sessions) == {1}


def test_progress_stands_until_a_successor_that_reads_it_commits() -> None:
    log = the_log(MemoryBlobs())
    log.append(Open("long", P))
    log.append(Progress(1, [(ROOT, "vda")]))
    log.append(End(1))
    assert set(log.refresh().needed) == {"2.0"}
    successor = log.append(Open("long", P, [m("2.0")]))
    log.append(Commit(successor, [(ROOT, "vda")]))
    assert set(log.refresh().needed) == {"5.0"}


def test_its_own_commit_and_a_delete_drop_progress_too() -> None:
    log = the_log(MemoryBlobs())
    log.append(Open("long", P))
    log.append(Progress(1, [(ROOT, "vda"), (ROOT, "vdb")]))
    log.append(Delete([m("2.1")]))
    assert set(log.refresh().needed) == {"2.0"}
    log.append(Commit(1, [(ROOT, "vda")]))
    assert set(log.refresh().needed) == {"4.0"}


def test_a_condemnation_waits_for_those_open_at_its_own_number() -> None:
    log = the_log(MemoryBlobs())
    for label in "abc":
        log.append(Open(label, P))
    log.append(Commit(1, []))
    listed = log.append(Condemn([PACK]))
    log.append(Open("later", P))
    assert log.refresh().condemnations[listed].waits == {2, 3}
    log.append(Commit(2, []))
    with pytest.raises(Unavailable, match=f"condemnation {listed} waits for session 3"):
        log.append(Removed(listed))
    log.append(End(3))
    assert log.refresh().may_remove(listed)
    log.append(Removed(listed))
    assert log.refresh().condemnations == {}
    assert log.refresh().condemned == {PACK}


def test_any_number_of_manifests_and_packs_goes_into_entries_of_bounded_size() -> None:
    ids = [m(f"{number}.0") for number in range(2500)]
    assert [manifest for entry in deletes(ids) for manifest in entry.manifests] == ids
    packs = [number.to_bytes(32, "big") for number in range(2500)]
    assert [pack for entry in condemns(packs) for pack in entry.packs] == packs
    log = the_log(MemoryBlobs())
    for entry in condemns(packs):
        log.append(entry)
    assert log.refresh().condemned == set(packs)
    with pytest.raises(InvalidRequest, match=r"the log entry would hold \d+ bytes, at most 262144 are allowed"):
        log.append(Open("x" * 300_000, P))
    assert log.refresh().head == 3


# Races


class Counting(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        self.calls.append(f"put {name}")
        return super().put(name, data)

    def get(self, name: str) -> bytes:
        self.calls.append(f"get {name}")
        return super().get(name)


def test_an_append_costs_one_put() -> None:
    store = Counting()
    log = the_log(store)
    log.append(Open("a", P))
    store.calls.clear()
    log.append(Open("b", P))
    log.append(End(1))
    assert store.calls == ["put log/2", "put log/3"]


def test_racing_appends_are_all_there_once_and_in_one_order() -> None:
    store = MemoryBlobs()

    def append(n: int) -> list[int]:
        log = the_log(store, every=16)
        numbers = []
        for turn in range(20):
            number = log.append(Open(f"{n}-{turn}", P))
            numbers.append(number)
            if turn % 2:
                log.append(End(number))
        return numbers

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for some in pool.map(append, range(8)) for number in some]
    state = the_log(store).refresh()
    assert state.head == 8 * 30
    assert len(set(numbers)) == 160
    assert {s.label for s in state.sessions.values()} == {f"{n}-{turn}" for n in range(8) for turn in range(0, 20, 2)}


def test_a_loser_checks_again_on_what_the_winner_said() -> None:
    """Two want to delete the same manifest while a hold is put on it: the check is made at the very head."""
    store = MemoryBlobs()
    one, two = the_log(store), the_log(store)
    one.append(Open("a", P))
    one.append(Commit(1, [(ROOT, "vda")]))
    two.refresh()
    one.append(Hold(m("2.0"), "operator"))
    with pytest.raises(InvalidRequest, match=r"manifest 2.0 is held by operator"):
        two.append(Delete([m("2.0")]))


def test_a_callers_own_check_is_made_again_after_every_lost_race() -> None:
    store = MemoryBlobs()
    one, two = the_log(store), the_log(store)
    two.refresh()
    one.append(Open("a", P))
    seen: list[int] = []

    def only_one(state: State) -> None:
        seen.append(state.head)
        if state.sessions:
            raise InvalidRequest("somebody is here already")

    with pytest.raises(InvalidRequest, match="somebody is here"):
        two.append(Open("b", P), valid=only_one)
    assert seen == [0, 1]
    assert the_log(store).refresh().head == 1


def test_a_refusal_from_the_past_is_looked_at_again() -> None:
    store = MemoryBlobs()
    one, two = the_log(store), the_log(store)
    one.append(Open("a", P))
    one.append(Commit(1, [(ROOT, "vda")]))
    one.append(Hold(m("2.0"), "operator"))
    two.refresh()
    one.append(Release(m("2.0"), "operator"))
    two.append(Delete([m("2.0")]))
    assert one.refresh().manifests == {}


class Unsteady(MemoryBlobs):
    """Does what it is told to with the next puts: store and say nothing, say nothing, or say it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: list[str] = []
        self.given_up: list[tuple[str, bytes]] = []

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        what = self.plan.pop(0) if self.plan else "honest"
        if what == "lost":
            self.given_up.append((name, bytes(data) if isinstance(data, Buffer) else b"".join(data)))
            raise Unavailable("no answer")
        stored = super().put(name, data)
        if what == "reply lost":
            raise Unavailable("no answer")
        return stored and what == "honest"

    def land(self) -> None:
        for name, data in self.given_up:
            super().put(name, data)


@pytest.mark.parametrize("what", ["reply lost", "tried again by the driver"])
def test_an_entry_whose_reply_was_lost_is_known_again(what: str) -> None:
    store = Unsteady()
    log = the_log(store)
    store.plan = [what]
    assert log.append(Open("a", P)) == 1
    assert log.append(Open("b", P)) == 2
    assert {s.label for s in the_log(store).refresh().sessions.values()} == {"a", "b"}


def test_an_entry_that_was_given_up_may_still_land() -> None:
    """Its caller has been told; whoever comes next takes it as it is."""
    store = Unsteady()
    log = the_log(store)
    store.plan = ["lost"]
    with pytest.raises(Unavailable):
        log.append(Open("given up", P))
    assert log.refresh().head == 0
    store.land()
    assert log.append(Open("next", P)) == 2
    assert [s.label for s in log.refresh().sessions.values()] == ["given up", "next"]


def test_a_number_that_is_taken_and_not_shown_is_unavailable() -> None:
    store = Unsteady()
    log = the_log(store)
    log.append(Open("a", P))
    MemoryBlobs.put(store, "log/2", b"")
    store.delete("log/2")

    class Refusing(MemoryBlobs):
        def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
            return False

    with pytest.raises(Unavailable, match="the store says that log/1 is taken, and does not show it"):
        the_log(Refusing()).append(Open("a", P))
