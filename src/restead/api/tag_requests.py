"""Shapes of what clients send about tags."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from restead.api.body import parse
from restead.api.policy_requests import between
from restead.api.requests import Shape, TagShape, tags_of
from restead.domain.errors import InvalidRequest
from restead.domain.tag import Tag, TagSearch, TagWanted

_NO_NUL = r"^[^\x00]*$"
_LARGEST = 2**53

OldKey = Annotated[str, StringConstraints(min_length=1, max_length=127, pattern=_NO_NUL)]
OldValue = Annotated[str, StringConstraints(max_length=255, pattern=_NO_NUL)]
Limit = Annotated[int, *between(1, 1000)]
Offset = Annotated[int, *between(0, _LARGEST)]


class TagBodyShape(Shape):
    """Set a tag; a key that is there gets the new value."""

    tag: TagShape


class UnwantedTag(Shape):
    """A tag to remove; without a value whatever its value is."""

    key: OldKey
    value: OldValue | None = None


class TagsActionShape(Shape):
    """Set these tags, all or none; or remove those that are there."""

    action: Literal["create", "delete"]
    tags: Annotated[list[UnwantedTag], Field(min_length=1, max_length=100)]


class WantedShape(Shape):
    """A key, and values any of which will do; none: any."""

    key: OldKey
    values: Annotated[list[OldValue], Field(max_length=10)]


class MatchShape(Shape):
    """Part of the name; an empty value matches only an empty name."""

    key: Literal["resource_name"]
    value: OldValue


Wanted = Annotated[list[WantedShape], Field(min_length=1, max_length=10)]


class TagSearchShape(Shape):
    """Find, or count, what has these tags."""

    action: Literal["filter", "count"]
    limit: Limit | None = None
    offset: Offset | None = None
    tags: Wanted | None = None
    tags_any: Wanted | None = None
    not_tags: Wanted | None = None
    not_tags_any: Wanted | None = None
    matches: Annotated[list[MatchShape], Field(min_length=1, max_length=10)] | None = None


class _NewTags(Shape):
    tags: Annotated[list[TagShape], Field(min_length=1, max_length=10)]


def one_tag(body: bytes) -> Tag:
    """Return the tag to set.  Raises InvalidRequest."""
    shape = parse(TagBodyShape, body).tag
    return Tag(shape.key, shape.value)


def tags_action(body: bytes) -> tuple[tuple[Tag, ...], list[tuple[str, str | None]]]:
    """Return the tags to set, and those to remove; one of them is empty.  Raises InvalidRequest."""
    action = parse(TagsActionShape, body)
    if action.action == "create":
        return tags_of(parse(_NewTags, body).tags, "tags"), []
    return (), [(each.key, each.value) for each in action.tags]


def tag_search(body: bytes) -> tuple[TagSearch, int, int]:
    """Return what is looked for, and which page: limit 0 if it is only to be counted.  Raises InvalidRequest."""
    search = parse(TagSearchShape, body)
    wanted = {name: _wanted(name, getattr(search, name)) for name in ("tags", "tags_any", "not_tags", "not_tags_any")}
    if len(search.matches or ()) > 1:
        raise InvalidRequest("matches: key resource_name appears more than once")
    name = search.matches[0].value if search.matches else None
    if search.action == "count":
        return TagSearch(**wanted, name=name), 0, 0
    return TagSearch(**wanted, name=name), search.limit or 1000, search.offset or 0


def _wanted(name: str, shapes: list[WantedShape] | None) -> tuple[TagWanted, ...]:
    keys = [shape.key for shape in shapes or ()]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidRequest(f"{name}: key {key} appears {keys.count(key)} times, it may appear once")
    return tuple(TagWanted(shape.key, tuple(shape.values)) for shape in shapes or ())
