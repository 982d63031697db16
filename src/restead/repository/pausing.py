"""Threads that now and then have to stand still together, so that one of them can look at all they have done."""

from collections.abc import Callable
from threading import Condition


class Pauses:
    """For *threads* that each come by often.  No lock is taken as long as nobody asks for a pause."""

    def __init__(self, threads: int, wanted: Callable[[], bool], do: Callable[[], None]) -> None:
        """*wanted*: whether it is time for a pause.  *do* is done in it, by one thread; the others stand still."""
        self._wanted = wanted
        self._do = do
        self._working = threads
        self._standing = 0
        self._pause = 0  # number of the one that is asked for, or of the last
        self._asked = False
        self._failed = False
        self._changed = Condition()

    def come_by(self) -> None:
        """Stand still if a pause is wanted."""
        if not (self._asked or self._wanted()):
            return
        with self._changed:
            if self._failed:
                return
            self._asked = True
            self._standing += 1
            pause = self._pause
            self._begin_if_all_stand()
            while self._pause == pause and not self._failed:
                self._changed.wait()

    def leave(self, *, failed: bool) -> None:
        """Say that this thread does not come by any more.  After a failure there is nothing to look at."""
        with self._changed:
            self._working -= 1
            self._failed = self._failed or failed
            self._changed.notify_all()
            self._begin_if_all_stand()

    def _begin_if_all_stand(self) -> None:
        if self._failed or not self._standing or self._standing < self._working:
            return
        try:
            self._do()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._standing, self._asked = 0, False
            self._pause += 1
            self._changed.notify_all()
