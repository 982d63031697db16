"""Who of a data folder is at something that no run stands behind: those who died at it are found by their locks.

What is done by a command and not by the service has no row that tells of it.  So whoever is at it keeps a locked file,
named as its session is labelled; whoever comes next and can lock it knows that the other is dead, and ends its session.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from restead.domain.errors import NotFound, ResteadError
from restead.repository import Repository


class AtWork:
    """Those who are at one kind of work.

    *cache*: may be lost at any time; then what the dead have left stays until `adopt` ends it.
    """

    def __init__(self, repository: Repository, cache: Path, kind: str) -> None:
        self._repository = repository
        self._folder = cache / f"{repository.keyring.repository_id.hex()}.{kind}"

    @contextmanager
    def working(self, label: str) -> Iterator[Sequence[str]]:
        """Be known to live, as what bears *label*; give the labels of the dead, whose sessions are over now.

        They are forgotten once none of them has partial manifests any more, and so are we, if our session is over.
        """
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        path = self._folder / label
        with _locked(self._folder / "lock"):
            dead = [each for each in self._labels() if self._is_dead(each)]
            for each in dead:
                for session in self._repository.sessions(each):
                    self._repository.end(session.number)
            self._forget(dead)
            ours = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(ours, fcntl.LOCK_EX)
        try:
            yield dead
            self._forget(dead)
        finally:
            try:
                self._leave(label)
            finally:
                os.close(ours)

    def _leave(self, label: str) -> None:
        with suppress(ResteadError):  # then the next one looks after us
            if not any(session.open for session in self._repository.sessions(label)):
                self._forget([label])

    def _labels(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.name != "lock")

    def _is_dead(self, label: str) -> bool:
        fd = os.open(self._folder / label, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _forget(self, labels: Sequence[str]) -> None:
        noted = {entry.session_label for entry in self._repository.log.refresh().partial.values()}
        for label in labels:
            if label not in noted:
                (self._folder / label).unlink(missing_ok=True)


def drop_noted(repository: Repository, label: str) -> None:
    """Let nothing be kept of what was noted under that label."""
    if noted := repository.partial(label):
        with suppress(NotFound):
            repository.delete(noted)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
