"""Tags of backups and of policies: set, removed, listed, searched by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from restead.domain.backup import Backup
from restead.domain.caller import Action, Caller
from restead.domain.errors import Code, NotFound
from restead.domain.ids import BackupId, ProjectId
from restead.domain.policy import Policy
from restead.domain.tag import Tag, TagKind, TagSearch, with_tags, without_tags
from restead.records import Transaction, backups, policies, tags
from restead.service.doors import Doors

Unwanted = Sequence[tuple[str, str | None]]
"""Keys with a value; None: whatever it is."""


class Tags:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def list(self, caller: Caller, project_id: ProjectId, kind: TagKind, id: str) -> tuple[Tag, ...]:
        """Return the tags of one thing.  Raises NotFound."""
        caller.require(Action.TAGS_LIST, project_id)
        with self._doors.records.read() as tx:
            return _subject(tx, project_id, kind, id).tags

    def of_project(self, caller: Caller, project_id: ProjectId, kind: TagKind) -> Mapping[str, Sequence[str]]:
        """Return the values of each key that stand in the project, sorted."""
        caller.require(Action.TAGS_LIST, project_id)
        with self._doors.records.read() as tx:
            return tags.of_project(tx, kind, project_id)

    def set(self, caller: Caller, project_id: ProjectId, kind: TagKind, id: str, wanted: Sequence[Tag]) -> None:
        """Set all of these or none; a key that is there gets the new value.

        Raises:
            NotFound: there is no such thing.
            InvalidRequest: CSBS.7000, it would have more than ten.
        """
        caller.require(Action.TAGS_SET, project_id)
        self._change(project_id, kind, id, lambda there: with_tags(there, wanted))

    def remove(self, caller: Caller, project_id: ProjectId, kind: TagKind, id: str, unwanted: Unwanted) -> None:
        """Remove what is there of these.  Raises NotFound: there is no such thing."""
        caller.require(Action.TAGS_DELETE, project_id)
        self._change(project_id, kind, id, lambda there: without_tags(there, unwanted))

    def remove_one(self, caller: Caller, project_id: ProjectId, kind: TagKind, id: str, key: str) -> None:
        """Remove one.  Raises NotFound, also if the thing has no such tag: CSBS.7001."""
        caller.require(Action.TAGS_DELETE, project_id)

        def without(there: Sequence[Tag]) -> tuple[Tag, ...]:
            left = without_tags(there, [(key, None)])
            if len(left) == len(there):
                raise NotFound(f"{id[:64]} has no tag {key[:64]}", code=Code.TAG_NOT_FOUND)
            return left

        self._change(project_id, kind, id, without)

    def search_backups(
        self, caller: Caller, project_id: ProjectId, wanted: TagSearch, limit: int, offset: int
    ) -> tuple[tuple[Backup, ...], int]:
        """Return a page of what is found, newest first, and how many there are; no page if *limit* is 0."""
        caller.require(Action.TAGS_LIST, project_id)
        with self._doors.records.read() as tx:
            page = backups.tagged(tx, project_id, wanted, limit, offset) if limit else ()
            return page, backups.count_tagged(tx, project_id, wanted)

    def search_policies(
        self, caller: Caller, project_id: ProjectId, wanted: TagSearch, limit: int, offset: int
    ) -> tuple[tuple[Policy, ...], int]:
        """As `search_backups`."""
        caller.require(Action.TAGS_LIST, project_id)
        with self._doors.records.read() as tx:
            page = policies.tagged(tx, project_id, wanted, limit, offset) if limit else ()
            return page, policies.count_tagged(tx, project_id, wanted)

    def _change(
        self, project_id: ProjectId, kind: TagKind, id: str, change: Callable[[Sequence[Tag]], tuple[Tag, ...]]
    ) -> None:
        with self._doors.records.begin() as tx:
            subject = _subject(tx, project_id, kind, id)
            changed = change(subject.tags)
            if isinstance(subject, Backup):
                backups.set_tags(tx, subject, changed)
            else:
                policies.update(tx, replace(subject, tags=changed, updated_at=tx.now))


def _subject(tx: Transaction, project_id: ProjectId, kind: TagKind, id: str) -> Backup | Policy:
    if kind is TagKind.BACKUP:
        return backups.backup(tx, project_id, BackupId(id))
    return policies.policy(tx, project_id, id)
