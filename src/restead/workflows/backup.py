"""The story of a backup: all disks of a server at one moment, saved, committed, available.

Taken up after a crash at any point: what an earlier life committed under this run's label is found in the
repository and used; a session that it left open is ended, and the work begins anew.  What was stored is found again
by its names; what the dead session had noted of it every few minutes is safe from collection.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from restead.domain.backup import Backup, BackupRequest, Failure, VolumeBackup, plan_backup
from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound
from restead.domain.ids import BackupId, ManifestId
from restead.domain.known import KnownDisk
from restead.domain.quota import QuotaLimits
from restead.domain.run import Told
from restead.domain.server import Server
from restead.domain.states import BackupState, Event
from restead.ports import (
    BlockSource,
    Consistency,
    Moment,
    PausesGuest,
    RetiresGenerations,
    Servers,
    TracksChanges,
    Volumes,
)
from restead.records import Records, Transaction, backups, known, quotas
from restead.records.encoding import plain
from restead.repository import DiskDescription, Hint, Repository, Saved, Session
from restead.workflows.meter import Meter, Reading, update
from restead.workflows.nicely import nicely
from restead.workflows.pace import Pace, PacedSource
from restead.workflows.sessions import end_dead_sessions
from restead.workflows.story import DurableRun, Ending

Journal = dict[str, Any]
"""JSON: taken_at, consistency, guest_pause_us, manifests; volumes: size, read, stored, incremental, bytes_per_second,
root, generation."""


class BackupStory:
    def __init__(
        self,
        records: Records,
        repository: Repository,
        servers: Servers,
        volumes: Volumes,
        progress_every: timedelta = timedelta(minutes=5),
        *,
        look_every: timedelta = timedelta(seconds=0.5),
        quotas: QuotaLimits = QuotaLimits(),
        nice: int = 0,
    ) -> None:
        """*look_every*: how often it is looked whether somebody has set how fast running servers are read.

        *nice*: how much nicer than this process the threads are that save disks of running servers.
        """
        self._nice = nice
        self._pace = Pace(records, look_every)
        self._quotas = quotas
        self._progress_every = progress_every
        self._records = records
        self._repository = repository
        self._servers = servers
        self._volumes = volumes

    def tell(self, run: DurableRun) -> Ending:
        with self._records.read() as tx:
            backup = backups.backup(tx, run.project_id, BackupId(run.subject))
        saved = run.step("save", lambda: self._save(run, backup))
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        return lambda tx: _available(tx, backup, saved)

    def afterwards(self, run: DurableRun) -> None:
        """Let the driver forget the generations that no backup needs any more: this one's is in the rows."""
        if not isinstance(self._volumes, RetiresGenerations):
            return
        with self._records.read() as tx:
            backup = backups.backup(tx, run.project_id, BackupId(run.subject))
            rows = {volume.volume_id: known.known(tx, run.project_id, volume.volume_id) for volume in backup.volumes}
        kept = {id: row.generation if row else "" for id, row in rows.items()}
        self._volumes.retire(run.project_id, backup.server.id, kept)

    def failed(self, run: DurableRun, failure: Failure) -> Ending:
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        return lambda tx: _failed(tx, run, failure)

    def _save(self, run: DurableRun, backup: Backup) -> Journal:
        earlier = self._committed_earlier(run)
        if earlier is not None:
            return earlier
        self._check_server(backup)
        with self._records.read() as tx:
            quotas.check_capacity(tx, backup.project_id, self._quotas)
        parents, believed = self._parents(backup), self._known(backup)
        # What an earlier life has noted is kept from collection by being read, and taken over by the commit.
        reads = [*filter(None, parents), *(one.manifest for one in believed if one)]
        reads += self._repository.partial(run.claim.run_id)
        with self._repository.session(run.project_id, label=run.claim.run_id, reads=reads) as session:
            # The moment is closed before the commit: closing it is what proves that no disk changed meanwhile.
            ids = [volume.volume_id for volume in backup.volumes]
            with self._volumes.open_moment(run.project_id, backup.server.id, ids) as moment:
                _check_consistency(backup, moment)
                _tell_reading(run, backup, moment, parents)
                roots, told = self._save_disks(run, backup, session, moment, parents, believed)
            # Journalled before the commit, under the session's number: a life that finds the commit finds this.
            run.step(f"saved/{session.number}", lambda: told)
            return {**told, "manifests": session.commit(roots)}

    def _committed_earlier(self, run: DurableRun) -> Journal | None:
        for session in self._repository.sessions(run.claim.run_id):
            if session.manifests:
                told: Journal = run.step(f"saved/{session.number}", _no_journal)
                return {**told, "manifests": list(session.manifests)}
            self._repository.end(session.number)
        return None

    def _check_server(self, backup: Backup) -> None:
        """Raise what the request would be refused with now: the server may have changed while the run waited."""
        try:
            server: Server | None = self._servers.server(backup.project_id, backup.server.id)
        except NotFound:
            server = None
        plan_backup(BackupRequest(backup.server.id), server, busy=None)
        assert server is not None  # plan_backup has refused it
        for volume in backup.volumes:
            if server.volume(volume.volume_id) is None:
                raise InvalidRequest(
                    f"disk {volume.volume_id} was taken off server {server.id} before it was backed up",
                    code=Code.SERVER_STATE_FORBIDS_BACKUP,
                )

    def _parents(self, backup: Backup) -> list[ManifestId | None]:
        """Return for each disk what its backup builds on: its newest good manifest, None if it has to be full."""
        if backup.full:
            return [None for _ in backup.volumes]
        with self._records.read() as tx:
            parents = [backups.parent(tx, backup.project_id, volume.volume_id) for volume in backup.volumes]
        there = [entry for entry in self._repository.manifests(backup.project_id) if entry.id in parents]
        # One whose root is lost has no tree to build on; everything else that is lost is stored again.
        sound = {entry.id for entry, found in self._repository.described(there) if not isinstance(found, Damaged)}
        return [parent if parent in sound else None for parent in parents]

    def _known(self, backup: Backup) -> list[KnownDisk | None]:
        """Return for each disk what it held at a moment that its driver may know the changes since."""
        if backup.full:
            return [None for _ in backup.volumes]
        with self._records.read() as tx:
            found = [known.known(tx, backup.project_id, volume.volume_id) for volume in backup.volumes]
        there = {entry.id: entry for entry in self._repository.manifests(backup.project_id)}
        entries = [there.get(one.manifest) if one else None for one in found]
        same = [one if one and entry and entry.root.hex() == one.root else None
                for one, entry in zip(found, entries, strict=True)]  # fmt: skip
        described = self._repository.described([there[one.manifest] for one in same if one])
        sound = {entry.id for entry, about in described if not isinstance(about, Damaged)}
        return [one if one and one.manifest in sound else None for one in same]

    def _save_disks(
        self,
        run: DurableRun,
        backup: Backup,
        session: Session,
        moment: Moment,
        parents: Sequence[ManifestId | None],
        believed: Sequence[KnownDisk | None],
    ) -> tuple[list[Saved], Journal]:
        sources = [moment.sources[volume.volume_id] for volume in backup.volumes]
        generations = [_generation(source) for source in sources]  # before anything is read
        meter = Meter([source.size for source in sources], lambda reading: self._told(run, backup, reading))
        roots, volumes = [], []
        due = now_and_then(self._progress_every)
        spend = self._pace.of(run, backup.server.id) if isinstance(moment, PausesGuest) else None
        each = zip(backup.volumes, sources, parents, believed, generations, strict=True)
        for place, (volume, source, parent, held, generation) in enumerate(each):
            began = time.monotonic()
            hint = _hint(source, held)
            parent = hint.manifest if hint else parent
            save = partial(
                session.save,
                PacedSource(source, spend) if spend else source,
                parent=parent,
                description=description_of(backup, volume, moment, incremental=parent is not None),
                label=volume.volume_id,
                hint=hint,
                progress=partial(update, meter, place),
                check=run.check,
                due=due,
            )
            saved = nicely(self._nice if isinstance(moment, PausesGuest) else 0, save)
            seconds = max(time.monotonic() - began, 1e-6)
            roots.append(saved)
            volumes.append(
                {
                    **_saved(source, saved, seconds, hinted=hint is not None),
                    "incremental": parent is not None,
                    "generation": generation,
                }
            )
        told = {
            "taken_at": moment.taken_at.isoformat(),
            "consistency": moment.consistency.value,
            "guest_pause_us": _pause_us(moment),
            "volumes": volumes,
        }
        return roots, told

    def _told(self, run: DurableRun, backup: Backup, reading: Reading) -> None:
        run.record(lambda tx: backups.progress(tx, backup.id, min(reading.percent, 99)))
        if reading.moved:
            run.tell(Told.PROGRESS, backup.id, done=reading.done, total=reading.total, percent=reading.percent,
                     bytes_per_second=reading.bytes_per_second)  # fmt: skip


def now_and_then(every: timedelta) -> Callable[[], bool]:
    """Return what is true once in every such time, the first time after one; never if it is zero."""
    seconds = every.total_seconds()
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if not seconds or time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def _no_journal() -> Journal:
    # The journal is written first: rows were put back as they were earlier.
    raise InvalidRequest(
        "the records are older than the repository, which holds this backup: restead repository adopt takes it in",
        code=Code.INTERNAL,
    )


def _tell_reading(run: DurableRun, backup: Backup, moment: Moment, parents: Sequence[ManifestId | None]) -> None:
    pause = _pause_us(moment)
    measured = {} if pause is None else {"guest_pause_us": pause}
    run.tell(Told.READING, backup.id, disks=len(parents), parents=len(parents) - parents.count(None), **measured)


def _pause_us(moment: Moment) -> int | None:
    return moment.pause // timedelta(microseconds=1) if isinstance(moment, PausesGuest) else None


def _check_consistency(backup: Backup, moment: Moment) -> None:
    if backup.consistency_wanted == "filesystem" and moment.consistency is Consistency.CRASH:
        raise InvalidRequest(
            f"the file systems of server {backup.server.id} could not be frozen, and the backup asks for it",
            code=Code.SERVER_STATE_FORBIDS_BACKUP,
        )


def description_of(backup: Backup, volume: VolumeBackup, moment: Moment, *, incremental: bool) -> DiskDescription:
    """Return what stands beside the bytes of a disk, from which its rows can be made again."""
    return DiskDescription(
        role="system" if volume.bootable else "data",
        taken_at=moment.taken_at,
        consistency=moment.consistency.value,
        server={
            **plain(backup.server), "disk": volume.volume_id, "backup": _names(backup, volume, incremental=incremental),
        },
    )


def _names(backup: Backup, volume: VolumeBackup, *, incremental: bool) -> Journal:
    """Return what people and programs know the backup by, so that losing the records does not lose it."""
    return {
        "id": backup.id,
        "checkpoint_id": backup.checkpoint_id,
        "disk_backup_id": volume.id,
        "name": backup.name,
        "description": backup.description,
        "created_at": backup.created_at.isoformat(),
        "tags": plain(backup.tags),
        "excluded": plain(backup.excluded),
        "full": backup.full,
        "incremental": incremental,
    }


def _hint(source: BlockSource, held: KnownDisk | None) -> Hint | None:
    """Return where the disk may hold something else than what is known of it; None: anywhere."""
    if held is None or not isinstance(source, TracksChanges):
        return None
    changed = source.changed_since(held.generation)
    return None if changed is None else Hint(held.manifest, changed, guaranteed=True)


def _saved(source: BlockSource, saved: Saved, seconds: float, *, hinted: bool) -> Journal:
    read = saved.count.read if hinted else source.size
    return {
        "size": source.size, "read": read, "stored": saved.count.stored, "root": saved.root.hex(),
        "bytes_per_second": int(read / seconds),
    }  # fmt: skip


def _generation(source: BlockSource) -> str:
    return source.generation() if isinstance(source, TracksChanges) else ""


def _available(tx: Transaction, backup: Backup, saved: Journal) -> None:
    moved = backups.move(tx, backup.id, Event.PROTECTED, lambda row: with_saved(tx, row, saved))
    for volume, told in zip(moved.volumes, saved["volumes"], strict=True):
        if volume.manifest is not None and told.get("generation"):
            held = KnownDisk(volume.manifest, told["root"], told["generation"])
            known.note(tx, backup.project_id, volume.volume_id, held)


def with_saved(tx: Transaction, backup: Backup, saved: Journal) -> Backup:
    """Return the backup as it is when all of it is in the repository."""
    volumes = tuple(
        replace(
            volume,
            manifest=ManifestId(manifest),
            size=told["size"],
            read=told.get("read", told["size"]),
            stored=told["stored"],
            incremental=told["incremental"],
            bytes_per_second=told["bytes_per_second"],
        )
        for volume, told, manifest in zip(backup.volumes, saved["volumes"], saved["manifests"], strict=True)
    )
    return replace(
        backup,
        volumes=volumes,
        protected_at=datetime.fromisoformat(saved["taken_at"]),
        consistency=saved["consistency"],
        guest_pause_us=saved.get("guest_pause_us"),  # a run that an older release began has not measured it
        finished_at=tx.now,
        progress=100,
        failed_operation="",
        failure=None,
    )


def _failed(tx: Transaction, run: DurableRun, failure: Failure) -> None:
    backup = backups.backup(tx, run.project_id, BackupId(run.subject))
    if backup.state is BackupState.PROTECTING:
        backups.move(
            tx,
            backup.id,
            Event.FAILED,
            lambda row: replace(row, failed_operation="backup", failure=failure, finished_at=tx.now),
        )
