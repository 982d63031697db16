"""The log: one order for everything that matters.

Entries are objects `log/1`, `log/2`, …, each put only if its number is free, sealed, naming its
predecessor's digest and carrying a random id.  Whoever loses the race for a number reads the winner,
checks that its own event still holds, and tries the next.  Entries are never deleted.

Only a put decides: that a number is free says nothing.  A listing is asked once, at the beginning, for
the newest snapshot (a hint) and for entries behind a gap (damage).
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import restead.repository.rules as rules
import restead.repository.snapshot as snapshot
from restead.domain.errors import Damaged, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.ports import BlobStore
from restead.repository.events import (
    Commit,
    Condemn,
    Delete,
    End,
    Entry,
    Event,
    Hold,
    Open,
    Progress,
    Release,
    Removed,
    condemns,
    decode,
    deletes,
    encode,
)  # fmt: skip
from restead.repository.seal import DIGEST_SIZE, Kind, SealingKeys, scrub, seal, unseal
from restead.repository.state import Condemnation, ManifestEntry, Phase, SessionState, State
from restead.repository.witness import Witness

__all__ = [
    "Commit", "Condemn", "Condemnation", "Delete", "End", "Event", "Hold", "Log", "ManifestEntry", "Open", "Phase",
    "Progress", "Release", "Removed", "SessionState", "State", "condemns", "deletes",
]  # fmt: skip

_NUMBER = re.compile(r"[1-9][0-9]*")

MOST_BYTES = 256 * 1024  # of an entry's payload
SNAPSHOT_EVERY = 1_000  # entries

Check = Callable[[State], None]


class Log:
    """The log of one repository.  Any number of these, in any number of processes, may append at once.

    *remembered*: a file that keeps the newest digest seen here, so that a store which shows an older or
    another history is found out.  *ahead*: entries that are fetched at once where each takes long.
    """

    def __init__(
        self,
        store: BlobStore,
        keys: SealingKeys,
        repository_id: bytes,
        remembered: Path | None = None,
        *,
        snapshot_every: int = SNAPSHOT_EVERY,
        ahead: int = 0,
    ) -> None:
        self._store = store
        self._keys = keys
        self._repository_id = repository_id
        self._witness = Witness(remembered, repository_id)
        self._snapshot_every = snapshot_every
        self._state: State | None = None
        self._ahead = ahead
        self._listed: frozenset[int] = frozenset()  # entries that were listed at the beginning
        self._coming: dict[int, bytes] = {}  # entries that were fetched and not read yet
        self._due: State | None = None  # passed a number that gets a snapshot
        self._lock = threading.RLock()

    def refresh(self) -> State:
        """Return the state up to the newest entry the store shows.

        Raises:
            Damaged: an entry is damaged, missing or of another history than this log has seen before.
        """
        with self._lock:
            state = begun = self._begun()
            while (entry := self._read(state.head + 1)) is not None:
                state = self._follow(state, *entry)
            if state is begun and state.head and self._stored_digest(state.head) != state.digest:
                # Nothing new follows on it, so nothing else would tell that the store was put back under us.
                raise Damaged(_replaced(state.head))
            self._witness.keep(state.head, state.digest)
            self._put_snapshot()
            return state

    def append(self, event: Event, *, valid: Check | None = None) -> int:
        """Return the number of the entry that says *event*, once it is durable.

        *valid* gets the state the entry will follow on, and raises if the event would be wrong there; it
        is called again after every lost race.  An event that would be void is not appended.

        Raises:
            NotFound, InvalidRequest, Unavailable: the event would be void (rules.py says which).
            Unavailable: the store did not answer; the entry may have been stored or still be: look again.
            InvalidRequest: the entry would be longer than MOST_BYTES.
            Damaged: as `refresh`.
        """
        with self._lock:
            state = self._state or self.refresh()
            while True:
                try:
                    _check(state, event, valid)
                except ResteadError:
                    # Perhaps it would be wrong only after what we know, and others have moved on.
                    before, state = state.head, self.refresh()
                    if state.head == before:
                        raise
                    continue
                entry = Entry(os.urandom(16), state.digest, event)
                state, ours = self._put(state, entry)
                if ours:
                    self._witness.keep(state.head, state.digest)
                    return state.head

    def require(self, number: int, digest: bytes) -> None:
        """Return if entry *number* has that digest (32 bytes): the store shows the history that somebody has seen.

        Raises:
            Damaged: it shows an older one, or another.
        """
        if number and self._stored_digest(number) != digest:
            raise Damaged(_replaced(number))

    def digest(self) -> tuple[int, bytes]:
        """Return number and digest (32 bytes) of the newest entry this log has seen: what an operator may keep."""
        state = self._state or self.refresh()
        return state.head, state.digest

    def check_snapshot(self, number: int) -> None:
        """Replay the log up to `snapshot/<number>` and compare.  Raises Damaged if it says anything else."""
        state = State()
        while state.head < number:
            entry = self._read(state.head + 1)
            if entry is None:
                raise Damaged(f"{_name(state.head + 1)} is missing, {_snapshot_name(number)} exists")
            state = _next(state, *entry)
        if self._snapshot(number) != state:
            raise Damaged(f"{_snapshot_name(number)} does not say what the log says up to there")

    def check(self) -> Iterator[Damaged]:
        """Replay every entry from the first on, and yield what is wrong, with snapshots that say anything else."""
        state, snapshots = State(), set(self._numbers("snapshot/"))
        head = self.refresh().head
        while state.head < head:
            try:
                entry = self._read(state.head + 1)
                if entry is None:
                    raise Damaged(f"{_name(state.head + 1)} is missing, {_name(head)} exists")
                state = _next(state, *entry)
            except Damaged as error:
                yield error
                return  # nothing behind it can be replayed
            if state.head in snapshots:
                yield from self._wrong_snapshot(state)

    def _wrong_snapshot(self, state: State) -> Iterator[Damaged]:
        name = _snapshot_name(state.head)
        try:
            if self._snapshot(state.head) != state:
                yield Damaged(f"{name} does not say what the log says up to there")
        except Damaged as error:
            yield error

    def _put(self, state: State, entry: Entry) -> tuple[State, bool]:
        """Try for the next number; return the state after whoever got it, and whether that is us."""
        number = state.head + 1
        payload = encode(entry)
        if len(payload) > MOST_BYTES:
            raise InvalidRequest(f"the log entry would hold {len(payload)} bytes, at most {MOST_BYTES} are allowed")
        sealed = seal(self._keys, self._repository_id, Kind.LOG, _name(number).encode(), payload)
        try:
            if self._store.put(_name(number), sealed):
                return self._follow(state, entry, sealed[-DIGEST_SIZE:]), True
        except Unavailable:
            # The reply may be lost, not the put.  If nothing is there the put may still land: the caller must know.
            if (found := self._read(number)) is None:
                raise
        else:
            if (found := self._read(number)) is None:
                raise Unavailable(f"the store says that {_name(number)} is taken, and does not show it")
        return self._follow(state, *found), found[0].id == entry.id

    def _follow(self, state: State, entry: Entry, digest: bytes) -> State:
        """Move on by one entry.  What was seen is kept even if the caller fails later."""
        self._state = moved = _next(state, entry, digest)
        if moved.head % self._snapshot_every == 0:
            self._due = moved
        return moved

    def _read(self, number: int) -> tuple[Entry, bytes] | None:
        """Return that entry and its digest, or None if the store shows none."""
        name = _name(number)
        try:
            sealed = self._sealed(number)
        except NotFound:
            return None
        payload = unseal(self._keys, self._repository_id, Kind.LOG, name.encode(), sealed)
        return decode(payload, name), sealed[-DIGEST_SIZE:]

    def _sealed(self, number: int) -> bytes:
        if number in self._listed and number not in self._coming:
            wanted = sorted(self._listed.intersection(range(number, number + self._ahead)))
            with ThreadPoolExecutor(len(wanted)) as pool:
                found = zip(wanted, pool.map(self._if_there, wanted), strict=True)
                self._coming = {each: sealed for each, sealed in found if sealed is not None}
            self._listed = self._listed.difference(wanted)
        return self._coming.pop(number, None) or self._store.get(_name(number))

    def _if_there(self, number: int) -> bytes | None:
        """What is missing among entries that are fetched ahead is found out when its turn comes."""
        try:
            return self._store.get(_name(number))
        except NotFound:
            return None

    def _begun(self) -> State:
        """Return the state so far; the first time, from the newest snapshot, checked against the log."""
        if self._state is None:
            newest = max(self._numbers("snapshot/"), default=0)
            state = self._snapshot(newest) if newest else State()
            if state.head and self._stored_digest(state.head) != state.digest:
                raise Damaged(f"{_snapshot_name(newest)} does not follow from {_name(newest)}")
            self._check_witness()
            self._check_gaps(state.head)
            self._state = state
        return self._state

    def _check_witness(self) -> None:
        self.require(*self._witness.newest())

    def _check_gaps(self, head: int) -> None:
        """Raise Damaged if an entry is listed that a replay would never reach.

        Without this a replay would end at a missing entry as if it were the newest.
        """
        listed = {number for number in self._numbers("log/") if number > head}
        newest = max(listed, default=head)
        for number in range(head + 1, newest):
            if number not in listed and self._read(number) is None:  # a listing may be stale: ask
                raise Damaged(f"{_name(number)} is missing, {_name(newest)} exists")
        if self._ahead:
            self._listed = frozenset(listed)

    def _stored_digest(self, number: int) -> bytes:
        try:
            return scrub(self._store.get(_name(number)), _name(number))
        except NotFound:
            raise Damaged(f"{_name(number)} is missing, though it was there before") from None

    def _numbers(self, prefix: str) -> list[int]:
        found = [name.removeprefix(prefix) for name, _ in self._store.list(prefix)]
        return [int(number) for number in found if _NUMBER.fullmatch(number)]

    def _snapshot(self, number: int) -> State:
        name = _snapshot_name(number)
        try:
            sealed = self._store.get(name)
        except NotFound:
            raise Damaged(f"{name} is missing, though it is listed") from None
        plain = unseal(self._keys, self._repository_id, Kind.SNAPSHOT, name.encode(), sealed)
        return snapshot.decode(plain, name)

    def _put_snapshot(self) -> None:
        if self._due is not None:
            name = _snapshot_name(self._due.head)
            plain = snapshot.encode(self._due)
            self._store.put(name, seal(self._keys, self._repository_id, Kind.SNAPSHOT, name.encode(), plain))
            self._due = None


def _check(state: State, event: Event, valid: Check | None) -> None:
    if error := rules.refusal(state, event):
        raise error
    if valid is not None:
        valid(state)


def _next(state: State, entry: Entry, digest: bytes) -> State:
    if entry.previous != state.digest:
        raise Damaged(f"{_name(state.head + 1)} does not follow on {_name(state.head)}: the history has been forked")
    return rules.after(state, state.head + 1, digest, entry.event)


def _replaced(number: int) -> str:
    return f"{_name(number)} is not what was seen here before: the store shows another history"


def _name(number: int) -> str:
    return f"log/{number}"


def _snapshot_name(number: int) -> str:
    return f"snapshot/{number}"
