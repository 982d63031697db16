"""Holds: until when nobody can delete a backup.

The row says it first, so that no deletion is promised any more, then the repository's log, which binds every other
service and every collection; only then is the hold promised.  A crash in between leaves a row whose log is made good by
the next look.  In the log a holder says until when it holds, so the repository alone tells it; when that time is
over is decided here, by a clock, and told by a `release`.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from restead.domain.backup import Backup
from restead.domain.errors import NotFound
from restead.domain.ids import ManifestId
from restead.records import Records, backups, utc_now
from restead.repository import Hold, Release, Repository

log = structlog.get_logger()

_HOLDER = "until "


def holder_until(until: datetime) -> str:
    """Return what the log calls a hold until that moment."""
    return _HOLDER + until.astimezone(UTC).isoformat(timespec="microseconds")


def until_of(holder: str) -> datetime | None:
    """Return until when that holder holds, None if it is none of ours."""
    try:
        found = datetime.fromisoformat(holder.removeprefix(_HOLDER))
    except ValueError:
        return None
    return found if holder.startswith(_HOLDER) and found.tzinfo is not None else None


def held_until(repository: Repository, backup: Backup) -> datetime | None:
    """Return until when the log says that the backup is held, whatever its row says."""
    holds = repository.log.refresh().holds
    times = [until_of(holder) for manifest in _manifests(backup) for holder in holds.get(manifest, ())]
    return max((time for time in times if time is not None), default=None)


def hold(repository: Repository, backup: Backup, until: datetime) -> None:
    """Let the log say that all disks of the backup are held; earlier holds of it are released.  Repeatable.

    Raises:
        NotFound: one of them is not in the repository.
    """
    for manifest in _manifests(backup):
        _append(repository, Hold(manifest, holder_until(until)))
    _release(repository, _manifests(backup), before=until)


def release_over(repository: Repository, manifests: Iterable[ManifestId], now: datetime) -> None:
    """Release those of our holds whose time is over.  Repeatable."""
    _release(repository, manifests, before=now)


class HoldKeeper:
    """A chore: the log says of every held backup what its row says, and holds whose time is over are released."""

    def __init__(self, records: Records, repository: Repository, now: Callable[[], datetime] = utc_now) -> None:
        self._records = records
        self._repository = repository
        self._now = now

    def __call__(self, check: Callable[[], None]) -> None:
        with self._records.read() as tx:
            held = backups.held(tx)
        for backup in held:
            check()
            assert backup.held_until is not None
            try:
                self._keep(backup, backup.held_until)
            except NotFound as error:
                log.warning("a held backup is not in the repository", backup=backup.id, reason=error.message)

    def _keep(self, backup: Backup, until: datetime) -> None:
        if until > self._now():
            hold(self._repository, backup, until)
            return
        release_over(self._repository, _manifests(backup), self._now())
        with self._records.begin() as tx:
            backups.end_hold(tx, backup.id, until)
        log.info("the time of a hold is over", backup=backup.id, until=until.isoformat())


def _manifests(backup: Backup) -> list[ManifestId]:
    return [volume.manifest for volume in backup.volumes if volume.manifest is not None]


def _append(repository: Repository, event: Hold | Release) -> None:
    holders = repository.log.refresh().holds.get(event.manifest, frozenset())
    if (event.holder in holders) != isinstance(event, Hold):
        repository.log.append(event)


def _release(repository: Repository, manifests: Iterable[ManifestId], *, before: datetime) -> None:
    holds = repository.log.refresh().holds
    for manifest in manifests:
        for holder in sorted(holds.get(manifest, ())):
            if (time := until_of(holder)) is not None and time < before:
                try:
                    _append(repository, Release(manifest, holder))
                except NotFound:
                    pass  # somebody else was faster
