"""The keyring: all keys of a repository, and every way to open it.

Each version is one object `keyring/<n>` that holds everything; the highest counts.  A change is the
next version, put only if its number is free: of two changes at once one wins, and the other is done
again on top of it.  So two changes cannot cancel each other.

Old versions hold old keys and old wrappings: what shall be gone goes with them.  They are deleted from the lowest
on, after a version that says so (`first`) is durable.  So whoever sees that `first` of the version he knows is
still there, also knows that no number above it was ever freed.

The wrappings stand in the clear (they must be read before anything is opened) and are bound to the
body, which is sealed under the keyring's secret, which each of them wraps.

    keyring secret ─┬─ body: control keys (for the log), and for each project a name key
                    │        and numbered random sealing keys
    passphrase ─────┤
    key file ───────┤  wrap it
    recovery key ───┘
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import restead.repository.keyring_changes as changes
import restead.repository.keyring_file as keyring_file
from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId
from restead.ports import BlobStore
from restead.repository.keyring_file import Contents, ControlKeys, ProjectKeys
from restead.repository.keyring_guard import require_newest
from restead.repository.live_keys import LiveKeys
from restead.repository.secret import KeyFile, Passphrase, RecoveryKey, Secret
from restead.repository.wrapping import Cost, Wrapping, WrappingKind, kind_of

__all__ = [
    "ControlKeys",
    "Cost",
    "KeyFile",
    "Keyring",
    "Passphrase",
    "ProjectKeys",
    "RecoveryKey",
    "Secret",
    "Wrapping",
    "WrappingKind",
]

_NUMBER = re.compile(r"[1-9][0-9]*")
_Change = Callable[[Contents], Contents]


class Keyring:
    """An opened keyring.  Safe to use from several threads; others may change the stored one at any time."""

    def __init__(
        self, store: BlobStore, keyring_secret: bytes, contents: Contents, digest: bytes, opened_by: str
    ) -> None:
        self.opened_by = opened_by  # id of the wrapping
        self._store = store
        self._secret = keyring_secret
        self._contents = contents
        self._digest = digest  # of the version we know
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Keyring({self.repository_id.hex()}, version {self._contents.number})"

    @classmethod
    def create(
        cls, store: BlobStore, secret: Secret, *, chunk_size: int, label: str = "", cost: Cost | None = None,
        at: datetime | None = None,
    ) -> "Keyring":  # fmt: skip
        """Make the keyring of a new repository, which *secret* opens.

        Raises:
            InvalidRequest: the store holds a repository already.
        """
        repository_id, keyring_secret = os.urandom(16), os.urandom(32)
        wrapping = Wrapping.of(secret, keyring_secret, repository_id, label=label, cost=cost or Cost(), at=at)
        control = keyring_file.fresh_control()
        contents = Contents(1, 1, bytes(32), repository_id, chunk_size, control, {}, (wrapping,))
        there = any(True for prefix in ("keyring/", "log/", "packs/") for _ in store.list(prefix))
        if there or not store.put(_name(1), sealed := _encode(contents, keyring_secret)):
            raise InvalidRequest("the store holds a repository already")
        return cls(store, keyring_secret, contents, keyring_file.decode(sealed, _name(1)).digest, wrapping.id)

    @classmethod
    def open(cls, store: BlobStore, secret: Secret) -> "Keyring":
        """Open the newest keyring in the store.

        Raises:
            NotFound: there is no repository in the store.
            InvalidRequest: *secret* does not open it.
            Damaged: a version is damaged, missing, or not what its successor says it is.
            Unavailable: the store lists what it does not hold any more.
        """
        listed = _listed(store)
        newest = _read(store, max(listed, default=1))
        if newest is None:
            if listed:
                raise Unavailable(f"the store lists {_name(max(listed))} and does not hold it: its listing is behind")
            if any(True for _ in store.list("log/")):
                raise Damaged("the store holds a log and no keyring: all versions of it are missing")
            raise NotFound("there is no repository in this store")
        wrapping, keyring_secret = _unwrapped(newest, secret)
        keyring = cls(store, keyring_secret, newest.unlocked(keyring_secret), newest.digest, wrapping.id)
        keyring.refresh()
        keyring._check_gaps(listed)
        return keyring

    @property
    def repository_id(self) -> bytes:
        """16 random bytes, which everything stored is bound to."""
        return self._contents.repository_id

    @property
    def version(self) -> tuple[int, bytes]:
        """Number and digest of the version that counts, as far as is known."""
        return self._contents.number, self._digest

    @property
    def chunk_size(self) -> int:
        """Bytes."""
        return self._contents.chunk_size

    @property
    def control(self) -> ControlKeys:
        """The keys of the log."""
        return self._contents.control

    @property
    def projects(self) -> Mapping[ProjectId, ProjectKeys]:
        """All projects this version knows."""
        return self._contents.projects

    def project(self, project_id: ProjectId) -> ProjectKeys:
        """Return the keys of a project; those of a new one are made, and durable when they are returned."""
        with self._lock:
            if project_id not in self.projects:
                self._change(lambda contents: changes.with_project(contents, project_id))
            return self.projects[project_id]

    def live(self, keys: ProjectKeys) -> LiveKeys:
        """Return the sealing keys of that project as they are at each moment.

        They raise NotFound when the project has been erased, also if there is a new one of that name.
        """

        def current() -> ProjectKeys:
            now = self.projects.get(keys.project)
            if now is None or now.name_key != keys.name_key:
                raise NotFound(f"project {keys.project} was erased: its keys are destroyed")
            return now

        return LiveKeys(current, self.refresh)

    @property
    def live_control(self) -> LiveKeys:
        """The keys of the log as they are at each moment."""
        return LiveKeys(lambda: self.control, self.refresh)

    def rotate(self) -> None:
        """Give log and projects a new sealing key each, for what is sealed from now on; the old ones still open."""
        with self._lock:
            self._change(changes.rotated)

    def wrappings(self) -> list[Wrapping]:
        """Return all ways to open the repository."""
        return list(self._contents.wrappings)

    def add_wrapping(
        self, secret: Secret, *, label: str = "", cost: Cost | None = None, at: datetime | None = None
    ) -> Wrapping:
        """Let *secret* open the repository too, from when this returns; *at*: what time that is."""
        with self._lock:
            wrapping = Wrapping.of(secret, self._secret, self.repository_id, label=label, cost=cost or Cost(), at=at)
            self._change(lambda contents: changes.with_wrapping(contents, wrapping))
            return wrapping

    def remove_wrapping(self, id: str) -> None:
        """Let that wrapping open the repository no more; `drop_old` then deletes the versions that still have it.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it is the last one: nobody could open the repository any more.
        """
        with self._lock:
            self.refresh()
            if not any(one.id == id for one in self._contents.wrappings):
                raise NotFound(f"there is no key {id}")
            self._change(lambda contents: changes.without_wrapping(contents, id))

    def forget(self, project_id: ProjectId) -> None:
        """Take the keys of a project out of the keyring, for ever; `drop_old` then deletes the versions that have them.

        Nothing happens if it has none.
        """
        with self._lock:
            self._change(lambda contents: changes.without_project(contents, project_id))

    def old(self) -> list[int]:
        """Return the numbers of versions that are below the first that must be there, and still are; ascending."""
        with self._lock:
            self.refresh()
            first = self._contents.first
            found = {number for number in _listed(self._store) if number < first}
            number = first - 1  # a listing may be behind; what is left of a deletion from below has no gaps
            while number and number not in found and _read(self._store, number) is not None:
                found.add(number)
                number -= 1
            return sorted(number for number in found if _there(self._store, number))

    def forgotten(self) -> list[ProjectKeys]:
        """Return the keys of projects that are in old versions and not in the newest: of those not erased entirely."""
        with self._lock:
            found = {}
            for number in self.old():
                locked = _read(self._store, number)
                for keys in locked.unlocked(self._secret).projects.values() if locked else ():
                    found[keys.name_key] = keys
            known = {keys.name_key for keys in self.projects.values()}
            return [keys for name, keys in found.items() if name not in known]

    def drop_old(self) -> int:
        """Delete the versions below the first that must be there; return how many there were.

        From the lowest on, each before the next: a number must not be free while a lower one of its chain is there.
        """
        numbers = self.old()
        for number in numbers:
            self._store.delete(_name(number))
        return len(numbers)

    @property
    def recovery_confirmed(self) -> bool:
        """True once somebody has said that a recovery key is kept elsewhere."""
        return any(wrapping.confirmed_at for wrapping in self._recovery(self._contents))

    def confirm_recovery(self, secret: RecoveryKey, at: datetime) -> None:
        """Note that *secret*, a recovery key of this repository, is kept elsewhere, as said at the time *at*.

        Raises:
            InvalidRequest: it opens nothing here: what is kept elsewhere is useless.
        """
        with self._lock:
            self.refresh()
            right = [one.id for one in self._recovery(self._contents) if one.unwrap(secret, self.repository_id)]
            if not right:
                raise InvalidRequest("the recovery key does not open this repository")
            self._change(lambda contents: changes.confirmed(contents, right[0], at))

    def refresh(self) -> None:
        """Take over what others have changed.

        Raises:
            Damaged: their versions do not follow on ours, or ours is not there any more.
            Unavailable: the store has deleted what we know and does not list yet what came after it.
        """
        with self._lock:
            self._climb()
            while not self._stands():
                self._catch_up()

    def _stands(self) -> bool:
        """Tell whether the chain we know is there, from its first version to its last."""
        if not _there(self._store, self._contents.first):
            return False
        last = _read(self._store, self._contents.number)
        if last is not None and last.digest != self._digest:
            raise Damaged(f"{last.name} is not what was seen here before: the keyring is forked")
        return last is not None

    def _climb(self) -> None:
        while (found := _read(self._store, self._contents.number + 1)) is not None:
            if not self._follows(found.unlocked(self._secret)) and not _there(self._store, self._contents.first):
                return  # we stand on what was put where a version had been deleted; see `_leave`
            self._follow(found)

    def _catch_up(self) -> None:
        """Go on from a later version: ours is being deleted, or was, and a gap stands between the two."""
        known = self._contents
        self._climb()
        if self._contents.number > known.number:
            return
        number = max(_listed(self._store), default=0)
        found = _read(self._store, number) if number > known.number else None
        if found is None:
            if _there(self._store, known.number):
                raise Damaged(f"{_name(known.first)} is missing, {_name(known.number)} exists")
            if known.first < known.number and _there(self._store, known.first):  # so no number above it was freed
                raise Damaged(f"{_name(known.number)} is missing, though it was there before")
            raise Unavailable(f"{_name(known.number)} is gone, and the store lists no later version")
        contents = found.unlocked(self._secret)
        if contents.repository_id != self.repository_id or contents.first <= known.number:
            raise Damaged(f"{_name(known.number)} is gone, and {found.name} says that it must be there")
        self._contents, self._digest = contents, found.digest

    @staticmethod
    def _recovery(contents: Contents) -> list[Wrapping]:
        return [wrapping for wrapping in contents.wrappings if wrapping.kind is WrappingKind.RECOVERY_KEY]

    def _change(self, change: _Change) -> None:
        """Store the next version; what another has put there first is taken over, and *change* done again on it."""
        self.refresh()
        if change(self._contents) != self._contents:
            require_newest(self._store, self)
        while (wanted := change(self._contents)) != self._contents:
            number = self._contents.number + 1
            sealed = _encode(replace(wanted, number=number, previous=self._digest), self._secret)
            stored = self._store.put(_name(number), sealed)
            if not _there(self._store, self._contents.first):
                self._leave(number, stored)
                continue
            found = keyring_file.decode(sealed, _name(number)) if stored else _read(self._store, number)
            if found is None:
                raise Damaged(f"the store says that {_name(number)} is taken, and does not show it")
            self._follow(found)
            if found.sealed == sealed:  # also when the reply was lost and the driver tried again
                return

    def _leave(self, number: int, stored: bool) -> None:
        """Go on from where the others are: what was put as *number* may stand where a version had been deleted."""
        self.refresh()
        if stored and number < self._contents.first:
            self._store.delete(_name(number))

    def _follow(self, found: keyring_file.Locked) -> None:
        contents = found.unlocked(self._secret)
        if not self._follows(contents):
            raise Damaged(f"{found.name} does not follow on {_name(self._contents.number)}: the keyring is forked")
        self._contents, self._digest = contents, found.digest

    def _follows(self, contents: Contents) -> bool:
        return contents.previous == self._digest and contents.repository_id == self.repository_id

    def check(self) -> None:
        """Read every version and see that each follows on the one before.  Raises Damaged."""
        contents, digest = self._contents, self._digest
        for number in range(contents.number, contents.first - 1, -1):
            found = _read(self._store, number)
            if found is None or found.digest != digest:
                raise Damaged(f"{_name(number)} is {'not the one that was stored' if found else 'missing'}")
            digest = found.unlocked(self._secret).previous

    def _check_gaps(self, listed: set[int]) -> None:
        """Raise Damaged if a version is missing: its number would be free for a change that nobody would see."""
        known = self._contents
        for number in range(known.first, known.number):
            if number not in listed and _read(self._store, number) is None:
                raise Damaged(f"{_name(number)} is missing, {_name(known.number)} exists")
        before = _read(self._store, known.number - 1) if known.number > known.first else None
        if before is not None and before.digest != known.previous:
            raise Damaged(f"{before.name} is not the one that {_name(known.number)} follows on")


def _name(number: int) -> str:
    return keyring_file.name_of(number)


def _encode(contents: Contents, keyring_secret: bytes) -> bytes:
    return keyring_file.encode(contents, keyring_secret)


def _listed(store: BlobStore) -> set[int]:
    found = [name.removeprefix("keyring/") for name, _ in store.list("keyring/")]
    return {int(number) for number in found if _NUMBER.fullmatch(number)}


def _read(store: BlobStore, number: int) -> keyring_file.Locked | None:
    try:
        return keyring_file.decode(store.get(_name(number)), _name(number))
    except NotFound:
        return None


def _there(store: BlobStore, number: int) -> bool:
    try:
        store.get(_name(number))
    except NotFound:
        return False
    return True


def _unwrapped(locked: keyring_file.Locked, secret: Secret) -> tuple[Wrapping, bytes]:
    kind = kind_of(secret)
    fitting = [wrapping for wrapping in locked.wrappings if wrapping.kind is kind]
    if not fitting:
        raise InvalidRequest(f"this repository has no {kind}, it is opened by {_kinds(locked.wrappings)}")
    for wrapping in fitting:
        if keyring_secret := wrapping.unwrap(secret, locked.repository_id):
            return wrapping, keyring_secret
    raise InvalidRequest(f"the {kind} does not open this repository")


def _kinds(wrappings: tuple[Wrapping, ...]) -> str:
    return " or ".join(sorted({wrapping.kind.value for wrapping in wrappings}))
