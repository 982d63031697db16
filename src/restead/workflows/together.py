"""Several disks at the same time."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from restead.workflows.run import Interrupted

Result = TypeVar("Result")

DISKS_AT_ONCE = 4  # of one restore; memory is bounded by the repository's own window


class GivenUp(Exception):
    """Work on a disk is given up, though nothing is wrong with it: another one failed, or somebody cancelled."""


class Gate:
    """Open until the first of several disks fails; who asks then is told to give up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.first: int | None = None  # the disk that failed first

    def check(self) -> None:
        if self.first is not None:
            raise GivenUp("another disk has failed")

    def close(self, ordinal: int) -> None:
        with self._lock:
            if self.first is None:
                self.first = ordinal


def together(works: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Do all of these at the same time; return for each what it returned or raised, when all have ended.

    What ends a process or a life of a run, and not just one disk's work, is raised.
    """
    if len(works) == 1:
        return [_alone(works[0])]
    with ThreadPoolExecutor(DISKS_AT_ONCE, thread_name_prefix="disk") as pool:
        futures = [pool.submit(work) for work in works]
        wait(futures)
    return [_outcome(future.exception(), future.result) for future in futures]


def _alone(work: Callable[[], Result]) -> Result | Exception:
    with ThreadPoolExecutor(1, thread_name_prefix="disk") as pool:
        future = pool.submit(work)
        return _outcome(future.exception(), future.result)


def _outcome(error: BaseException | None, result: Callable[[], Result]) -> Result | Exception:
    if error is None:
        return result()
    if isinstance(error, Exception) and not isinstance(error, Interrupted):
        return error
    raise error
