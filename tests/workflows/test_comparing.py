"""Plans whose disks are compared; what they find is in tests/stories."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Semaphore
from typing import Any, NoReturn

import pytest

from restead.domain.errors import Unavailable
from restead.workflows import Comparer


class _Slow:
    """Volumes that are opened as soon as they may be, and are gone then."""

    def __init__(self) -> None:
        self.reached, self.may_end = Semaphore(0), Event()

    @contextmanager
    def open_target(self, *_: object) -> Iterator[NoReturn]:
        self.reached.release()
        self.may_end.wait()
        raise Unavailable("it is gone")
        yield


class _Plan:
    """One disk of a server, as far as it is looked at before the disk is open."""

    def __init__(self) -> None:
        self.server = self.target = self
        self.volumes, self.wanted, self.id = [self], "1.0", "x"


def test_many_that_compare_leave_threads_for_other_requests() -> None:
    """Whoever may look may ask for plans, and each keeps a thread for as long as disks are read."""
    volumes, plan = _Slow(), _Plan()
    compare: Any = Comparer(None, volumes)  # type: ignore[arg-type]
    with ThreadPoolExecutor(8) as crowd:
        try:
            asked = [crowd.submit(compare, "p", plan) for _ in range(8)]
            for _ in asked:
                volumes.reached.acquire()
            with pytest.raises(Unavailable, match="8 other plans"):
                compare("p", plan)
        finally:
            volumes.may_end.set()
        for each in asked:
            with pytest.raises(Unavailable, match="it is gone"):
                each.result()
    with pytest.raises(Unavailable, match="it is gone"):
        compare("p", plan)
