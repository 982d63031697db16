"""The service collects by itself, now and then: what deleted backups needed is given back."""

from collections.abc import Callable

import structlog

from restead.repository import Repository

log = structlog.get_logger()


class Collecting:
    """A chore: one round of collection."""

    def __init__(self, repository: Repository, garbage: float, small: int) -> None:
        self._repository = repository
        self._garbage = garbage
        self._small = small

    def __call__(self, check: Callable[[], None]) -> None:
        done = self._repository.collect(garbage=self._garbage, small=self._small, check=check)
        if done.condemned or done.removed or done.waiting:
            log.info(
                "repository collected", removed=done.removed, freed=done.freed, copied=done.copied,
                condemned=done.condemned, merged=done.merged, waiting=len(done.waiting), kept=done.kept,
            )  # fmt: skip
