"""Disk images that exist already become a backup of a server.

No run stands behind it: it is done by whoever asks, beside a service or without one, and nothing is promised before it
is done.  All disks are saved in one session and committed at once; then the rows are inserted in one transaction.  A
crash before the commit leaves nothing but an open session; one between commit and rows leaves what `adopt` makes this
very backup of, since all that the rows say, but for what it cost, stands beside the bytes.  `adopt` also ends such a
session.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from restead.domain.backup import Backup, VolumeBackup
from restead.domain.ids import BackupId, CheckpointId, RunId, VolumeBackupId, VolumeId, new_id
from restead.domain.quota import QuotaLimits
from restead.domain.server import Server
from restead.domain.states import BackupState
from restead.ports import Moment
from restead.records import Records, Transaction, quotas, stock, utc_now
from restead.repository import Repository, Saved, Session
from restead.workflows.adopt import checkpoint_of
from restead.workflows.backup import Journal, description_of, with_saved
from restead.workflows.meter import Meter, Reading, update


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported: images of those disks of *server* that the moment has sources of."""

    server: Server
    name: str = ""  # made up if left out
    description: str = ""


class Importer:
    """Makes backups of images."""

    def __init__(self, records: Records, repository: Repository, quotas: QuotaLimits = QuotaLimits()) -> None:
        self._records = records
        self._repository = repository
        self._quotas = quotas

    def run(
        self, request: ImportRequest, images: AbstractContextManager[Moment], told: Callable[[Reading], None]
    ) -> Backup:
        """Store all that *images* holds, and return the backup, which is available.

        Raises:
            InvalidRequest: a quota is used up, as for a protect; nothing was stored.
            Unavailable: an image was changed while it was read, or the session was ended by somebody else.
        """
        with self._records.read() as tx:
            quotas.check(tx, request.server.project_id, self._quotas)
        run_id = RunId(new_id())
        with self._repository.session(request.server.project_id, label=run_id) as session:
            # Closed before the commit: closing it is what proves that no image changed meanwhile.
            with images as moment:
                backup = _backup(request, moment, run_id)
                roots, saved = _save(backup, session, moment, told)
            saved["manifests"] = session.commit(roots)
        with self._records.begin() as tx:
            return _insert(tx, backup, saved)


def _backup(request: ImportRequest, moment: Moment, run_id: RunId) -> Backup:
    server = request.server
    # What the backup says of a disk is what the image holds: the server's own may have been made larger since.
    taken = tuple(
        replace(volume, size=moment.sources[volume.id].size) for volume in server.volumes if volume.id in moment.sources
    )
    name, now = request.name or f"import_{secrets.token_hex(2)}", utc_now()
    volumes = tuple(
        VolumeBackup(
            id=VolumeBackupId(new_id()),
            name=f"{name}_{volume.name}",
            state=BackupState.AVAILABLE,
            volume_id=volume.id,
            volume_name=volume.name,
            size=volume.size,
            bootable=volume.bootable,
        )
        for volume in taken
    )
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
    backup: Backup, session: Session, moment: Moment, told: Callable[[Reading], None]
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
        )
        seconds = max(time.monotonic() - began, 1e-6)
        roots.append(saved)
        speed = int(source.size / seconds)
        volumes.append(
            {"size": source.size, "stored": saved.count.stored, "incremental": False, "bytes_per_second": speed}
        )
    taken_at, consistency = moment.taken_at.isoformat(), moment.consistency.value
    return roots, {"taken_at": taken_at, "consistency": consistency, "volumes": volumes}


def _insert(tx: Transaction, backup: Backup, saved: Journal) -> Backup:
    # Somebody who brings lists and repository together may have found what was committed first.
    there = stock.of_run(tx, backup.project_id, backup.run_id)
    if there:
        return there[0]
    made = with_saved(tx, backup, saved)
    stock.adopt(tx, checkpoint_of(tx, made), made)
    return made
