"""Erasing a project by destroying its keys.

Order: its sessions are ended and its manifests deleted → the newest keyring is without its keys → the same once more,
for who had opened a session in between → its packs and index objects are deleted → what the caller knows of besides →
the old versions of the keyring, which hold its keys, are deleted.  From the second step on nobody gets the keys from
the newest keyring; after the last one nobody gets them from this store.  After a crash the old versions tell which
projects are left to be finished.

What it cannot reach: copies of the store, versions that the store keeps of deleted objects, and whoever has the keys
in memory or has written them down.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import ManifestId, ProjectId
from restead.ports import BlobStore
from restead.repository.chunk import Names
from restead.repository.events import Delete, deletes
from restead.repository.keyring import Keyring
from restead.repository.keyring_file import ProjectKeys
from restead.repository.log import End, Log, ManifestEntry

Also = Callable[[ProjectId], object]


def nothing(project: ProjectId) -> None:
    """Nothing else is known of a project."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What an erasure destroys."""

    manifests: tuple[ManifestEntry, ...]
    stored: int  # bytes of the project's objects in the store


class Erasing:
    """Erases projects of one repository.  The store must let us delete."""

    def __init__(self, store: BlobStore, keyring: Keyring, log: Log, cache: Path) -> None:
        self._store = store
        self._keyring = keyring
        self._log = log
        self._cache = cache

    def lost(self, project: ProjectId) -> Lost:
        """Return what erasing that project would destroy, or what is left of that after a crash.

        Raises:
            NotFound: the repository knows no such project.
            InvalidRequest: one of its backups is held.
        """
        self._keyring.refresh()
        there = self._keyring.projects.get(project)
        keys = [each for each in self._keyring.forgotten() if each.project == project] + ([there] if there else [])
        entries = self._manifests(project)
        if not keys and not entries:
            raise NotFound(f"the repository holds no project {project}")
        prefixes = [prefix for each in keys for prefix in _prefixes(each)]
        return Lost(entries, sum(size for prefix in prefixes for _, size in self._store.list(prefix)))

    def erase(self, project: ProjectId, also: Also = nothing) -> int:
        """Destroy the keys of that project and all that they open; as `finish`.  Raises as `lost`."""
        self.lost(project)
        self._let_go(project)
        self._keyring.forget(project)
        self._let_go(project)
        return self.finish(also)

    def unfinished(self) -> int:
        """Return how many old versions of the keyring are still there and should not be."""
        return len(self._keyring.old())

    def finish(self, also: Also = nothing) -> int:
        """Delete what erasures and removed keys have left, also those that a crash has cut short.

        *also* does what else is to be done for a project that is erased; done again after a crash.
        Returns how many old versions of the keyring were deleted.
        """
        for keys in self._keyring.forgotten():
            for prefix in _prefixes(keys):
                for name, _ in list(self._store.list(prefix)):
                    self._store.delete(name)
            tag = Names(keys.name_key).tag
            shutil.rmtree(self._cache / self._keyring.repository_id.hex() / tag, ignore_errors=True)
            also(keys.project)
        return self._keyring.drop_old()

    def _manifests(self, project: ProjectId) -> tuple[ManifestEntry, ...]:
        state = self._log.refresh()
        found = tuple(entry for entry in state.manifests.values() if entry.project == project)
        held = {entry.id: state.holds[entry.id] for entry in found if entry.id in state.holds}
        if held:
            holders = sorted({holder for each in held.values() for holder in each})
            raise InvalidRequest(f"{len(held)} disk backups of project {project} are held by {', '.join(holders)}")
        return found

    def _let_go(self, project: ProjectId) -> None:
        """End the project's sessions, so that nothing of theirs is committed any more, and delete its manifests."""
        for session in list(self._log.refresh().sessions.values()):
            if session.project == project:
                self._say(End(session.number, unpin=True))
        partial = [entry.id for entry in self._log.refresh().partial.values() if entry.project == project]
        ids: list[ManifestId] = [entry.id for entry in self._manifests(project)] + partial
        for event in deletes(ids):
            self._say(event)

    def _say(self, event: End | Delete) -> None:
        try:
            self._log.append(event)
        except NotFound:
            pass  # somebody else was faster


def _prefixes(keys: ProjectKeys) -> tuple[str, str]:
    tag = Names(keys.name_key).tag
    return f"index/{tag}/", f"packs/{tag}/"
