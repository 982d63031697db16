"""Tags: what people group things by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
