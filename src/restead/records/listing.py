"""Pages of lists: after a marker, in any order, never overlapping and never skipping."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import InvalidRequest
from restead.domain.ids import ProjectId, canonical_id
from restead.domain.listing import LARGEST_PAGE, Window
from restead.records.database import Transaction

Sorts = Mapping[str, sa.ColumnElement[Any]]
"""Sort key -> expression, never NULL, so that every database orders alike."""


def rows(
    tx: Transaction,
    table: sa.Table,
    project_id: ProjectId | None,
    where: list[sa.ColumnElement[bool]],
    window: Window,
    sorts: Sorts,
) -> tuple[list[sa.Row[Any]], bool]:
    """Return the rows of one page and whether more follow; of all projects if *project_id* is None.

    *where* says which are in the list.  The marker may be an entry that has left it since, so that the next
    page can be had after the last entry of this one was deleted.

    Raises:
        InvalidRequest: an unknown sort key, or a marker that never was an entry of the project.
    """
    keys = _keys(table, window, sorts)
    scope = [] if project_id is None else [table.c.project_id == project_id]
    query = sa.select(table.c.id).where(*scope, *where)
    if window.marker is not None:
        at = sa.select(*(key for key, _ in keys)).where(table.c.id == canonical_id(window.marker), *scope)
        place = tx.connection.execute(at).one_or_none()
        if place is None:
            raise InvalidRequest(f"marker: there is no entry {window.marker[:64]!r}")
        query = query.where(_after(keys, tuple(place)))
    limit = min(window.limit, LARGEST_PAGE)
    order = [key.desc() if down else key.asc() for key, down in keys]
    # Which rows those are is read from an index alone, however many are passed over; then only they are looked at.
    page = query.order_by(*order).limit(limit + 1).offset(window.offset)
    found = list(tx.connection.execute(sa.select(table).where(table.c.id.in_(page)).order_by(*order)))
    return found[:limit], len(found) > limit


def _keys(table: sa.Table, window: Window, sorts: Sorts) -> list[tuple[sa.ColumnElement[Any], bool]]:
    keys = []
    for order in window.order:
        if order.key not in sorts:
            raise InvalidRequest(f"sort: {order.key[:64]!r} is none of {', '.join(sorted(sorts))}")
        keys.append((sorts[order.key], order.descending))
    if any(order.key == "id" for order in window.order):
        return keys  # no two rows are alike in them already
    return [*keys, (table.c.id, window.order[-1].descending if window.order else True)]


def _after(keys: list[tuple[sa.ColumnElement[Any], bool]], place: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    """(a, b, id) after (x, y, z): a beyond x, or a = x and b beyond y, or …"""
    down = keys[0][1]
    if all(each == down for _, each in keys):  # every database goes straight to that place in an index
        here, there = sa.tuple_(*(key for key, _ in keys)), sa.tuple_(*place)
        return here < there if down else here > there
    beyond = []
    for at, (key, down) in enumerate(keys):
        equal = [earlier == value for (earlier, _), value in zip(keys[:at], place, strict=False)]
        beyond.append(sa.and_(*equal, key < place[at] if down else key > place[at]))
    return sa.or_(*beyond)
