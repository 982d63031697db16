"""Verification: the repository is looked at as a whole, and what is wrong is kept in rows, backup by backup.

It is no run: nobody waits for it, and whatever interrupts it, the next one of that depth goes on where it was.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Lock

import structlog

from restead.domain.errors import Damaged
from restead.domain.ids import BackupId, new_id
from restead.domain.notice import Matter, Outcome
from restead.domain.verification import DamagedDisk, Depth, Finding, Verification, VerificationState
from restead.domain.wording import count_of
from restead.records import Records, Transaction, backups, notices, stock, utc_now, verifications
from restead.repository import Repository

log = structlog.get_logger()

_NAMED = 100  # damaged backups that a notice names
_NAP = 0.5  # seconds that a slow look sleeps at most before it asks whether it may go on


class Pace:
    """Lets the work of all threads together go at *rate* bytes per second, as fast as it can if that is None.

    *check* ends it by raising.
    """

    def __init__(self, rate: int | None, check: Callable[[], None]) -> None:
        self._rate = rate
        self._check = check
        self._since = time.monotonic()
        self._spent = 0
        self._lock = Lock()

    def __call__(self, length: int) -> None:
        self._check()
        if not self._rate:
            return
        with self._lock:
            self._spent += length
        while (ahead := self._spent / self._rate - (time.monotonic() - self._since)) > 0:
            time.sleep(min(ahead, _NAP))
            self._check()


class Verifier:
    """Looks at the repository and keeps what it finds."""

    def __init__(self, records: Records, repository: Repository) -> None:
        self._records = records
        self._repository = repository

    @property
    def has_anything(self) -> bool:
        """Whether there is a backup to be verified."""
        return bool(self._repository.log.refresh().manifests)

    def verify(
        self,
        depth: Depth,
        *,
        rate: int | None = None,
        restart: bool = False,
        check: Callable[[], None] = lambda: None,
        told: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
    ) -> Verification:
        """Return what was found, which is durable then.  What *check* raises ends it, to be gone on with."""
        made = Verification(new_id(), depth, VerificationState.RUNNING, utc_now())
        read, objects = 0, 0

        def count(done: int, total: int) -> None:
            nonlocal read, objects
            read, objects = done, objects + 1
            told(done, total)

        self._keep(made)
        try:
            found = self._repository.inspect(depth, restart=restart, spend=Pace(rate, check), told=count)
        except Damaged as error:
            # The log cannot be read: no disk is known, and nothing can be restored before it is there again.
            ended = replace(made, state=VerificationState.DAMAGED, findings=(Finding("log", error.message),))
        else:
            damaged = VerificationState.DAMAGED if found.findings or found.disks else VerificationState.SOUND
            with self._records.read() as tx:
                disks = tuple(_placed(tx, _named(tx), disk) for disk in found.disks)
            ended = replace(made, state=damaged, findings=tuple(found.findings), disks=disks)
        ended = replace(ended, finished_at=utc_now(), read=read, objects=objects)
        self._keep(ended)
        return ended

    def _keep(self, verification: Verification) -> None:
        with self._records.begin() as tx:
            verifications.keep(tx, verification)
            if verification.state is VerificationState.DAMAGED:
                notices.heard(tx, Matter.VERIFICATION, Outcome.FAILED, _told(verification))
            elif verification.state is VerificationState.SOUND and verifications.standing(tx) == verification:
                notices.heard(tx, Matter.VERIFICATION, Outcome.GOOD, _told(verification))


class Regularly:
    """The chore: a verification whenever the last one began longer ago than *every*."""

    def __init__(self, verifier: Verifier, records: Records, every: timedelta, depth: Depth, rate: int | None) -> None:
        self._verifier = verifier
        self._records = records
        self._every = every
        self._depth = depth
        self._rate = rate

    def __call__(self, check: Callable[[], None]) -> None:
        check()
        with self._records.read() as tx:
            last = verifications.newest(tx, ended=True)
        # One that began later than now began while the clock was wrong: nobody knows when.
        due = last is None or not timedelta(0) <= utc_now() - last.started_at < self._every
        if due and self._verifier.has_anything:
            _say(self._verifier.verify(self._depth, rate=self._rate, check=check))


def warnings_of(records: Records) -> list[str]:
    """Return what an operator should know of the verification whose result stands."""
    with records.read() as tx:
        last = verifications.standing(tx)
    if last is None or last.state is not VerificationState.DAMAGED:
        return []
    backups_hit = len({disk.backup_id or disk.manifest for disk in last.disks})
    when = f"{last.started_at:%Y-%m-%d %H:%M}"
    return [
        f"the verification ({last.depth.value}) of {when} UTC found "
        f"{count_of(len(last.findings), 'damaged object')} in the repository, and {count_of(backups_hit, 'backup')} "
        "with something lost: restead repository damage"
    ]


def _named(tx: Transaction) -> dict[tuple[str, str], BackupId]:
    return {(each.manifest, each.project_id): each.backup_id for each in stock.named(tx)}


def _placed(tx: Transaction, named: dict[tuple[str, str], BackupId], disk: DamagedDisk) -> DamagedDisk:
    """Say which backup a damaged disk is of."""
    backup_id = named.get((disk.manifest, disk.project_id))
    if backup_id is None:
        return disk
    backup = backups.backup(tx, disk.project_id, backup_id)
    return replace(
        disk,
        backup_id=backup.id,
        backup_name=backup.name,
        server_id=backup.server.id,
        server_name=backup.server.name,
        disk_backup_id=verifications.disk_backups(tx, backup.id).get(disk.manifest, ""),
        disk_name=next((each.volume_name for each in backup.volumes if each.manifest == disk.manifest), ""),
    )


def _told(ended: Verification) -> dict[str, object]:
    """Return what a notice tells of it."""
    hit = sorted({disk.backup_id for disk in ended.disks if disk.backup_id is not None})
    return {"verification_id": ended.id, "depth": ended.depth.value, "damaged_objects": len(ended.findings),
            "damaged_disks": len(ended.disks), "backup_ids": hit[:_NAMED]}  # fmt: skip


def _say(ended: Verification) -> None:
    numbers = {"depth": ended.depth.value, "read": ended.read, "objects": ended.objects,
               "findings": len(ended.findings), "disks": len(ended.disks)}  # fmt: skip
    if ended.state is VerificationState.SOUND:
        log.info("repository verified", **numbers)
        return
    log.error("the repository is damaged", **numbers)
    for finding in ended.findings[:100]:
        log.error("damaged object", object=finding.object, reason=finding.message)
    for disk in ended.disks[:100]:
        log.error("damaged disk backup", backup=disk.backup_id, disk=disk.disk, manifest=disk.manifest, lost=disk.lost)
