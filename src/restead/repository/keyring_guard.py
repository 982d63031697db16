"""Whether the newest keyring that the store shows is the newest there ever was.

A version that is missing below the newest is seen by the gap.  A missing newest one leaves none: the version before it
would be taken for the newest, and the next change be put in the place of what is missing, which then cannot even be put
back.  Nobody can tell from the keyring alone, so this asks who may know more: the log, before anything is changed, and
a file of this machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from restead.domain.errors import Damaged, NotFound
from restead.domain.ids import ProjectId
from restead.ports import BlobStore
from restead.repository.keyring_file import ControlKeys, ProjectKeys, name_of
from restead.repository.log import Log
from restead.repository.seal import Header, Kind, SealingKeys
from restead.repository.witness import Witness


class Known(Protocol):
    """What is asked of a keyring."""

    @property
    def repository_id(self) -> bytes: ...
    @property
    def version(self) -> tuple[int, bytes]: ...
    @property
    def control(self) -> ControlKeys: ...
    @property
    def projects(self) -> Mapping[ProjectId, ProjectKeys]: ...
    @property
    def live_control(self) -> SealingKeys: ...
    def refresh(self) -> None: ...
    def forgotten(self) -> list[ProjectKeys]: ...


def require_newest(store: BlobStore, keyring: Known) -> None:
    """Return if the log tells of nothing that only a later keyring can have been made for.

    Raises:
        Damaged: it tells of backups of a project without keys, or was sealed with a key that is not there.
    """
    # The log first: keys are durable before anything in the log refers to them.
    lost = _projects(store, keyring)
    keyring.refresh()
    lost -= keyring.projects.keys()
    if lost:  # erased meanwhile, or half erased: then an old version tells of them
        lost &= _projects(store, keyring)
        lost -= {keys.project for keys in keyring.forgotten()}
    if lost:
        raise Damaged(
            f"the log has backups of project {', '.join(sorted(lost))}, of which {_newest(keyring)} holds no keys: a "
            f"later version is missing. Nothing is put in its place: put {_next(keyring)} back from a copy, "
            "or delete these backups, which nobody can read without it"
        )


def _projects(store: BlobStore, keyring: Known) -> set[ProjectId]:
    """Return the projects that have backups.  A damaged log tells of none: it stops no change of keys."""
    try:
        state = Log(store, keyring.live_control, keyring.repository_id).refresh()
    except Damaged:
        _require_key(store, keyring)
        return set()
    return {entry.project for entries in (state.manifests, state.partial) for entry in entries.values()}


def _require_key(store: BlobStore, keyring: Known) -> None:
    for name in sorted(name for name, _ in store.list("log/")):
        try:
            number = Header.decode(store.get(name), Kind.LOG, name).key_number
        except (Damaged, NotFound):
            continue
        if number not in keyring.control.sealing_keys:
            raise Damaged(
                f"{name} is sealed with key {number}, which {_newest(keyring)} does not hold: a later version is "
                f"missing. Nothing is put in its place: put {_next(keyring)} back from a copy"
            )


def _newest(keyring: Known) -> str:
    return name_of(keyring.version[0])


def _next(keyring: Known) -> str:
    return name_of(keyring.version[0] + 1)


class Seen:
    """The newest version that was seen on this machine, in a file that may be lost at any time."""

    def __init__(self, path: Path, keyring: Known) -> None:
        self._witness = Witness(path, keyring.repository_id)
        self._keyring = keyring

    def require(self) -> None:
        """Raise Damaged if the store does not show that version any more, nor a later one."""
        number, digest = self._witness.newest()
        shown, found = self._keyring.version
        if shown < number:
            raise Damaged(
                f"{name_of(number)} is missing, though it was there before: {_newest(self._keyring)} is the newest"
            )
        if shown == number and found != digest:
            raise Damaged(f"{name_of(number)} is not what was seen here before: the keyring is forked")

    def keep(self) -> None:
        """Remember the version that the keyring knows."""
        self._witness.keep(*self._keyring.version)
