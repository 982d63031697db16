"""Several threads at one task: the first failure ends them all, and is what the caller sees."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Shared(Generic[Item]):
    """An iterator that several threads draw from until it is exhausted or one of them has failed."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._lock = Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[Item]:
        while (item := self._next()) is not None:
            yield item

    def stop(self) -> None:
        """Let nobody draw another item."""
        self._stopped = True

    def _next(self) -> Item | None:
        with self._lock:
            return None if self._stopped else next(self._items, None)


def work_together(threads: int, items: Iterator[Item], work: Callable[[int, Iterator[Item]], Result]) -> list[Result]:
    """Return what *work(number of the thread, items)* returned in each thread.

    All threads draw from the same items.  When one raises, the others finish the item they have and see no more;
    then the first error is raised, whatever it is.
    """
    if threads == 1:
        return [work(0, items)]
    shared, failed = Shared(items), list[BaseException]()

    def labour(number: int) -> Result:
        try:
            return work(number, iter(shared))
        except BaseException as error:
            failed.append(error)  # in the order of time, whatever the number of the thread
            shared.stop()
            raise

    with ThreadPoolExecutor(threads, thread_name_prefix="crew") as pool:
        try:
            futures = [pool.submit(labour, number) for number in range(threads)]
            wait(futures)
        except BaseException:  # somebody interrupts who waits here
            shared.stop()
            raise
    if failed:
        raise failed[0]
    return [future.result() for future in futures]
