"""Lists: which page of them is asked for, by which conditions, and where the next page is."""

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, time, timedelta
from typing import TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from restead.api.auth import Call
from restead.domain.errors import InvalidRequest
from restead.domain.listing import LARGEST_PAGE, Order, Page, Window

_INTEGER = re.compile(r"-?[0-9]+")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# As in bodies; and 1 and 0, which OpenStack's own clients send.
_FLAGS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_LONGEST_SORT = 255  # characters; CSBS, lists
_LARGEST_OFFSET = 2**53  # beyond it nothing is listed anyway, and every database can count so far

Item = TypeVar("Item")


def window(query: QueryParams, keys: Collection[str]) -> Window:
    """Return the page that is asked for; *keys* are those the list can be sorted by.  Raises InvalidRequest."""
    limit = _integer(query, "limit", least=1)
    offset = _integer(query, "offset", least=0)
    return Window(
        limit=LARGEST_PAGE if limit is None else min(limit, LARGEST_PAGE),
        marker=text(query, "marker"),
        offset=min(offset or 0, _LARGEST_OFFSET),
        order=_order(query, keys),
        all_projects=flag(query, "all_tenants"),
    )


def listing(call: Call, name: str, page: Page[Item], view: Callable[[Item], object]) -> dict[str, object]:
    """Return the body of a list: the entries under *name* and, if any follow, where the next page is."""
    body: dict[str, object] = {name: [view(item) for item in page.items]}
    if page.more and page.items:
        marker = getattr(page.items[-1], "id")  # noqa: B009  every noun that is listed has one
        # The offset counts from the marker on, so the next page must not skip again.
        kept = [(key, value) for key, value in call.query.multi_items() if key not in ("marker", "offset")]
        query = urlencode([*kept, ("marker", marker)])
        body[f"{name}_links"] = [{"rel": "next", "href": f"{call.address}?{query}"}]
    return body


def text(query: QueryParams, name: str) -> str | None:
    """Return the parameter, None if it was not sent.  Raises InvalidRequest for what no text of ours holds."""
    value = query.get(name)
    if value is not None and "\0" in value:
        raise InvalidRequest(f"{name}: holds a NUL character")
    return value


def texts(query: QueryParams, name: str) -> tuple[str, ...]:
    """Return all values of a parameter that may be repeated."""
    text(query, name)
    return tuple(query.getlist(name))


def word(query: QueryParams, name: str, words: Collection[str]) -> str | None:
    """Return the parameter, which is one of *words*, None if it was not sent.  Raises InvalidRequest."""
    value = query.get(name)
    if value is not None and value not in words:
        raise InvalidRequest(f"{name}: {value[:64]!r} is none of {', '.join(words)}")
    return value


def flag(query: QueryParams, name: str) -> bool:
    """Return the parameter, False if it was not sent.  Raises InvalidRequest."""
    value = query.get(name)
    if value is not None and value not in _FLAGS:
        raise InvalidRequest(f"{name}: {value[:64]!r} is neither true nor false")
    return value is not None and _FLAGS[value]


def moment(query: QueryParams, name: str, *, day_ends: bool | None = None) -> datetime | None:
    """Return the parameter as an aware time, None if it was not sent.

    *day_ends*: a date alone is accepted too, and means its first (False) or its last (True) microsecond.

    Raises:
        InvalidRequest: it is no time of the form YYYY-MM-DDTHH:MM:SS, with or without fraction and Z.
    """
    value = query.get(name)
    return None if value is None else moment_of(value, name, day_ends=day_ends)


def moment_of(value: str, name: str, *, day_ends: bool | None = None) -> datetime:
    """Return *value*, which was sent as *name*, as an aware time.  Raises as `moment`."""
    try:
        if (found := _MOMENT.fullmatch(value)) is not None:
            fraction = timedelta(microseconds=int((found[2] or "0").ljust(6, "0")[:6]))
            return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) + fraction
        if day_ends is not None and _DAY.fullmatch(value):
            return datetime.combine(datetime.fromisoformat(value), time.max if day_ends else time.min, UTC)
    except ValueError:
        pass  # a thirteenth month and the like: told below with what is neither
    raise InvalidRequest(f"{name}: {value[:64]!r} is no time of the form 2026-03-02T10:15:30")


def _integer(query: QueryParams, name: str, *, least: int) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not _INTEGER.fullmatch(value) or (number := int(value[:20])) < least:
        raise InvalidRequest(f"{name}: {value[:64]!r} is not an integer of at least {least}")
    return number


def _order(query: QueryParams, keys: Collection[str]) -> tuple[Order, ...]:
    value = query.get("sort", "created_at:desc")
    if len(value) > _LONGEST_SORT:
        raise InvalidRequest(f"sort: has {len(value)} characters, {_LONGEST_SORT} are allowed")
    order: dict[str, Order] = {}
    for part in value.split(","):
        key, colon, direction = part.partition(":")
        if key not in keys:
            raise InvalidRequest(f"sort: {key[:64]!r} is none of {', '.join(keys)}")
        if colon and direction not in ("asc", "desc"):
            raise InvalidRequest(f"sort: {direction[:64]!r} is neither asc nor desc")
        order.setdefault(key, Order(key, direction != "asc"))  # a key that comes again sorts nothing any more
    return tuple(order.values())
