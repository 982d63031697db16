"""Disk images that exist already become a backup of a server.

No run stands behind it: it is done by whoever asks, beside a service or without one, and nothing is promised before it
is done.  All disks are saved in one session and committed at once; then the rows are inserted in one transaction.  A
crash before the commit leaves an open session, and what the session has noted of its work; the next import on the same
data folder ends the one and builds on the other (`at_work.py`).  One between commit and rows leaves what `adopt` makes
this very backup of, since all that the rows say, but for what it cost, stands beside the bytes.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from restead.domain.backup import Backup
from restead.domain.errors import InvalidRequest, ResteadError
from restead.domain.ids import (
    BackupId,
    CheckpointId,
    ManifestId,
    ProjectId,
    RunId,
    VolumeId,
    new_id,
)
from restead.domain.promise import new_volume_backup
from restead.domain.quota import QuotaLimits
from restead.domain.server import Server
from restead.domain.states import BackupState
from restead.ports import Moment
from restead.records import Records, operations, quotas, stock, utc_now
from restead.repository import Repository, Saved, Session
from restead.workflows.adopt import checkpoint_of
from restead.workflows.at_work import AtWork, drop_noted
from restead.workflows.backup import Journal, description_of, now_and_then, with_saved
from restead.workflows.meter import Meter, Reading, update


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported: images of those disks of *server* that the moment has sources of."""

    server: Server
    name: str = ""  # made up if left out
    description: str = ""


class Importer:
    """Makes backups of images."""

    def __init__(
        self,
        records: Records,
        repository: Repository,
        cache: Path,
        quotas: QuotaLimits = QuotaLimits(),
        note_every: timedelta = timedelta(minutes=5),
    ) -> None:
        """*cache*: a folder that may be lost at any time.  *note_every*: how much of the work a crash can cost."""
        self._records = records
        self._repository = repository
        self._at_work = AtWork(repository, cache, "imports")
        self._quotas = quotas
        self._note_every = note_every

    def run(
        self, request: ImportRequest, images: AbstractContextManager[Moment], told: Callable[[Reading], None]
    ) -> Backup:
        """Store all that *images* holds, and return the backup, which is available.

        Raises:
            InvalidRequest: a quota is used up, as for a protect, before or meanwhile; nothing is kept.
            Unavailable: an image was changed while it was read, or the session was ended by somebody else.
        """
        project_id, run_id = request.server.project_id, RunId(new_id())
        with self._records.read() as tx:
            quotas.check(tx, project_id, self._quotas)
        with self._at_work.working(run_id) as dead:
            try:
                backup, saved = self._store(request, images, told, run_id, self._noted(project_id, dead))
            except ResteadError:
                with suppress(ResteadError):  # then the next import drops it
                    drop_noted(self._repository, run_id)
                raise
            return self._keep(backup, saved)

    def _store(
        self,
        request: ImportRequest,
        images: AbstractContextManager[Moment],
        told: Callable[[Reading], None],
        run_id: RunId,
        noted: Sequence[ManifestId],
    ) -> tuple[Backup, Journal]:
        # What dead imports have noted is kept from collection by being read, and taken over by the commit.
        with self._repository.session(request.server.project_id, label=run_id, reads=noted) as session:
            # Closed before the commit: closing it is what proves that no image changed meanwhile.
            with images as moment:
                backup = _backup(request, moment, run_id)
                roots, saved = _save(backup, session, moment, told, now_and_then(self._note_every))
            saved["manifests"] = session.commit(roots)
        return backup, saved

    def _keep(self, backup: Backup, saved: Journal) -> Backup:
        """Insert the rows, unless others have used the quota up while we stored: then let go what we stored."""
        try:
            with self._records.begin() as tx:
                # Somebody who brings lists and repository together may have found what was committed first.
                if there := stock.of_run(tx, backup.project_id, backup.run_id):
                    return there[0]
                quotas.check(tx, backup.project_id, self._quotas)
                made = with_saved(tx, backup, saved)
                stock.adopt(tx, checkpoint_of(tx, made), made)
                operations.made_at_once(tx, made)
                return made
        except InvalidRequest:
            self._repository.delete(saved["manifests"])
            raise

    def _noted(self, project_id: ProjectId, dead: Sequence[str]) -> list[ManifestId]:
        partial = self._repository.log.refresh().partial.values()
        return [entry.id for entry in partial if entry.session_label in dead and entry.project == project_id]


def _backup(request: ImportRequest, moment: Moment, run_id: RunId) -> Backup:
    server = request.server
    # What the backup says of a disk is what the image holds: the server's own may have been made larger since.
    taken = tuple(
        replace(volume, size=moment.sources[volume.id].size) for volume in server.volumes if volume.id in moment.sources
    )
    name, now = request.name or f"import_{secrets.token_hex(2)}", utc_now()
    volumes = tuple(new_volume_backup(volume, name, BackupState.AVAILABLE) for volume in taken)
    return Backup(
        id=BackupId(new_id()),
        checkpoint_id=CheckpointId(new_id()),
        project_id=server.project_id,
        name=name,
        description=request.description,
        state=BackupState.AVAILABLE,
        server=replace(server, volumes=taken),
        created_at=now,
        updated_at=now,
        run_id=run_id,
        volumes=volumes,
        full=True,
        excluded=tuple(VolumeId(volume.id) for volume in server.volumes if volume.id not in moment.sources),
    )


def _save(
    backup: Backup, session: Session, moment: Moment, told: Callable[[Reading], None], due: Callable[[], bool]
) -> tuple[Sequence[Saved], Journal]:
    sources = [moment.sources[volume.volume_id] for volume in backup.volumes]
    meter = Meter([source.size for source in sources], told)
    roots, volumes = [], []
    for place, (volume, source) in enumerate(zip(backup.volumes, sources, strict=True)):
        began = time.monotonic()
        saved = session.save(
            source,
            description=description_of(backup, volume, moment, incremental=False),
            label=volume.volume_id,
            progress=partial(update, meter, place),
            due=due,
        )
        seconds = max(time.monotonic() - began, 1e-6)
        roots.append(saved)
        speed = int(source.size / seconds)
        volumes.append(
            {"size": source.size, "stored": saved.count.stored, "incremental": False, "bytes_per_second": speed}
        )
    taken_at, consistency = moment.taken_at.isoformat(), moment.consistency.value
    return roots, {"taken_at": taken_at, "consistency": consistency, "volumes": volumes}
