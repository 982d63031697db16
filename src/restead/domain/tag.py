"""Tags: what people group things by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from restead.domain.errors import Code, InvalidRequest

MOST_TAGS = 10  # CSBS, section 2.7: "At most 10 tags on one backup or policy"


@dataclass(frozen=True, slots=True)
class Tag:
    key: str
    value: str


def with_tags(there: Sequence[Tag], wanted: Iterable[Tag]) -> tuple[Tag, ...]:
    """Return the tags with these set: a key that is there gets the new value, others come behind.

    Raises:
        InvalidRequest: CSBS.7000, there would be more than ten.
    """
    found = {tag.key: tag for tag in there} | {tag.key: tag for tag in wanted}
    if len(found) > MOST_TAGS:
        raise InvalidRequest(f"there would be {len(found)} tags, there may be {MOST_TAGS}", code=Code.TOO_MANY_TAGS)
    return tuple(found.values())


def without_tags(there: Sequence[Tag], unwanted: Sequence[tuple[str, str | None]]) -> tuple[Tag, ...]:
    """Return the tags without those of (key, value); a value of None means any."""
    return tuple(tag for tag in there if not any(tag.key == key and value in (None, tag.value)
                                                 for key, value in unwanted))  # fmt: skip


class TagKind(StrEnum):
    """What can be tagged, as paths name it (CSBS, section 11)."""

    BACKUP = "csbs_backup"
    POLICY = "csbs_backup_policy"


@dataclass(frozen=True, slots=True)
class TagWanted:
    """A key, and values any of which will do; none: any value.  One that begins with `*`: what contains the rest."""

    key: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TagSearch:
    """Conditions joined by AND; an empty one says nothing."""

    tags: tuple[TagWanted, ...] = ()  # has all of these
    tags_any: tuple[TagWanted, ...] = ()  # has at least one
    not_tags: tuple[TagWanted, ...] = ()  # does not have all
    not_tags_any: tuple[TagWanted, ...] = ()  # has none
    name: str | None = None  # part of the name; "" matches only an empty one
