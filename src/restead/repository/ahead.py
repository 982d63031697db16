"""Things asked for before they are needed, where every answer takes long: many requests are under way at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def ahead_of(
    items: Sequence[Item], needed: Callable[[Item], bool], expect: Callable[[Item], None], count: int
) -> Iterator[Item]:
    """Yield *items* in order; before each, *expect* was called for the next *count* of them that are *needed*."""
    coming = (item for item in items if needed(item))
    under_way = 0
    for item in items:
        while under_way < count and (following := next(coming, None)) is not None:
            expect(following)
            under_way += 1
        yield item
        if count and needed(item):
            under_way -= 1
