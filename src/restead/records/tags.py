"""Tags of backups and policies, to be found by: kept beside the rows that they stand in, in the same transactions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from restead.domain.ids import ProjectId
from restead.domain.tag import Tag, TagKind, TagSearch, TagWanted
from restead.records.database import Transaction
from restead.records.tables import tags

_Column = sa.ColumnElement[Any]
_Condition = sa.ColumnElement[bool]


def index(tx: Transaction, kind: TagKind, project_id: ProjectId, subject_id: str, there: Sequence[Tag]) -> None:
    """Let these be what a subject is found by."""
    tx.connection.execute(tags.delete().where(tags.c.kind == kind, tags.c.subject_id == subject_id))
    for tag in there:
        row = {"kind": kind, "subject_id": subject_id, "project_id": project_id, "key": tag.key, "value": tag.value}
        tx.connection.execute(tags.insert().values(**row))


def of_project(tx: Transaction, kind: TagKind, project_id: ProjectId) -> dict[str, list[str]]:
    """Return the values of each key that stand in the project, keys and values sorted."""
    query = sa.select(tags.c.key, tags.c.value).where(tags.c.project_id == project_id, tags.c.kind == kind).distinct()
    found: dict[str, list[str]] = defaultdict(list)
    for row in tx.connection.execute(query):
        found[row.key].append(row.value)
    return {key: sorted(found[key]) for key in sorted(found)}


def conditions(
    kind: TagKind, project_id: ProjectId, id: _Column, name: _Column, wanted: TagSearch
) -> Iterator[_Condition]:
    """Yield what a row of the project, of that id and name, must satisfy."""

    def has(each: TagWanted) -> _Condition:
        # All that have it, read from an index at once: to look for each row's own tags costs several times as much.
        there = sa.select(tags.c.subject_id).where(
            tags.c.project_id == project_id, tags.c.kind == kind, tags.c.key == each.key
        )
        return id.in_(there.where(sa.or_(*map(_matches, each.values))) if each.values else there)

    if wanted.tags:
        yield sa.and_(*map(has, wanted.tags))
    if wanted.tags_any:
        yield sa.or_(*map(has, wanted.tags_any))
    if wanted.not_tags:
        yield sa.not_(sa.and_(*map(has, wanted.not_tags)))
    if wanted.not_tags_any:
        yield sa.not_(sa.or_(*map(has, wanted.not_tags_any)))
    if wanted.name is not None:
        yield _contains(name, wanted.name) if wanted.name else name == ""


def _matches(value: str) -> _Condition:
    if not value.startswith("*"):
        return tags.c.value == value
    return _contains(tags.c.value, value[1:]) if value[1:] else sa.true()


def _contains(column: _Column, part: str) -> _Condition:
    """Letter by letter: LIKE makes no difference between A and a in one database, and does in the other."""
    return sa.func.replace(column, part, "") != column
