"""Things asked for before they are needed, where every answer takes long: many requests are under way at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def fetched_ahead(
    items: Iterable[tuple[Item, int]],
    fetch: Callable[[Item], Result],
    *,
    count: int,
    budget: int,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Item, Result]]:
    """Yield each item of some size with what *fetch* returns for it, in order.

    Up to *count* are fetched at once or wait for their turn, of *budget* bytes together (or one, whatever its size).
    What *fetch* raises is raised when the item's turn comes.  *stop* is called before the wait for what is under way.
    """
    if count < 2:
        yield from ((item, fetch(item)) for item, _ in items)
        return
    waiting, coming, spent = deque(items), deque[tuple[Item, int, Future[Result]]](), 0
    with ThreadPoolExecutor(count, thread_name_prefix="ahead") as pool:
        try:
            while waiting or coming:
                while waiting and len(coming) < count and (not coming or spent + waiting[0][1] <= budget):
                    item, size = waiting.popleft()
                    coming.append((item, size, pool.submit(fetch, item)))
                    spent += size
                item, size, future = coming.popleft()
                yield item, future.result()
                spent -= size
        finally:
            stop()
            for _, _, future in coming:
                future.cancel()
