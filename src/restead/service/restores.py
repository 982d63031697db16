"""Restores: planned, promised, cancelled and undone here, done by the workflow of the same name."""

from collections.abc import Sequence
from dataclasses import fields, replace

from restead.domain.backup import Backup
from restead.domain.caller import Action, Caller
from restead.domain.errors import Code, Forbidden, InvalidRequest, NotFound
from restead.domain.ids import ManifestId, ProjectId, RestoreId, RunId, new_id, same_id
from restead.domain.listing import Page, RestoreFilter, Window
from restead.domain.restore import (
    Comparison,
    KnownLost,
    Mapping,
    PlanReport,
    Restore,
    RestorePlan,
    RestoreRequest,
    RestoreStats,
    VolumePlan,
    VolumeRestore,
    check_distinct,
    plan_restore,
)
from restead.domain.run import RunEvent, RunKind, Told
from restead.domain.states import Event, RestorePhase, RestoreState
from restead.records import Transaction, backups, checkpoints, events, restores, runs, servers, verifications
from restead.service.doors import Doors

_DECIDED = (RestorePhase.STARTING, RestorePhase.ENDED)


class Restores:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def create(self, caller: Caller, project_id: ProjectId, request: RestoreRequest) -> Restore:
        """Promise a restore; when this returns, backup and server are reserved and it will be done.

        Raises:
            NotFound: the checkpoint or the backup in it (condition 3 of CSBS section 9.3).
            InvalidRequest: the first other condition of 9.3 that does not hold.  Nothing was changed.
        """
        caller.require(Action.RESTORES_CREATE, project_id)
        return self._promise(project_id, request)

    def plan(
        self, caller: Caller, project_id: ProjectId, request: RestoreRequest, compare: bool = False
    ) -> PlanReport:
        """Return what such a restore would do, or raise as `create`; nothing is changed.

        *compare*: the disks are read and the numbers exact, if the server is stopped.
        """
        caller.require(Action.RESTORES_GET, project_id)
        plan = self._planned(project_id, request)
        compared: Sequence[Comparison | None] = [None] * len(plan.volumes)
        if compare and not plan.stops_server:
            compared = self._doors.compare(project_id, plan)
        if not request.safety:
            compared = [found and replace(found, to_save=0) for found in compared]
        lost = self._known_lost(plan)
        volumes = tuple(
            VolumePlan(
                backup_id=mapping.volume_backup_id,
                volume_id=mapping.volume_id,
                size=volume.source.size,
                target_size=volume.target.size,
                to_write_at_most=volume.target.size,
                known_lost=lost.get(volume.wanted),
                **({} if found is None else {each.name: getattr(found, each.name) for each in fields(found)}),
            )
            for mapping, volume, found in zip(request.mappings, plan.volumes, compared, strict=True)
        )
        return PlanReport(plan.server.id, plan.server_actions, volumes)

    def _known_lost(self, plan: RestorePlan) -> dict[ManifestId, KnownLost]:
        """Return what verifications have found lost of what is wanted."""
        sizes = {volume.wanted: volume.source.size for volume in plan.volumes}
        with self._doors.records.read() as tx:
            found = verifications.known_lost(tx, sizes)
        return {
            id: KnownLost(at, disk.lost, disk.ranges) if disk.ranges else KnownLost(at, sizes[id], ((0, sizes[id]),))
            for id, (at, disk) in found.items()
        }

    def list(self, caller: Caller, project_id: ProjectId, wanted: RestoreFilter, window: Window) -> Page[Restore]:
        where = caller.scope(Action.RESTORES_LIST, project_id, all_projects=window.all_projects)
        with self._doors.records.read() as tx:
            return restores.list_restores(tx, where, wanted, window)

    def restore(self, caller: Caller, project_id: ProjectId, id: RestoreId) -> Restore:
        """Return one.  Raises NotFound, also for another project's."""
        caller.require(Action.RESTORES_GET, project_id)
        with self._doors.records.read() as tx:
            return restores.restore(tx, project_id, id)

    def cancel(self, caller: Caller, project_id: ProjectId, id: RestoreId) -> Restore:
        """Have a restore given up: writing stops soon, and every disk is put back.  Cancelling twice is fine.

        Raises:
            InvalidRequest: CSBS.2003, what became of its disks is decided already.
        """
        caller.require(Action.RESTORES_CANCEL, project_id)
        with self._doors.records.begin() as tx:
            restore = restores.restore(tx, project_id, id)
            if restore.phase in _DECIDED:
                raise InvalidRequest(
                    f"restore {restore.id} is {restore.phase.value}: its disks are done and it cannot be cancelled",
                    code=Code.IN_PROGRESS,
                )
            return restores.cancel(tx, restore.id)

    def undo(self, caller: Caller, project_id: ProjectId, id: RestoreId, power_on: bool) -> Restore:
        """Promise a restore of what stood on these disks before; return it.  It can be undone in turn.

        Raises:
            InvalidRequest: CSBS.4000, nothing was kept, or no longer is; else as `create`.
        """
        caller.require(Action.RESTORES_UNDO, project_id)
        with self._doors.records.read() as tx:
            restore = restores.restore(tx, project_id, id)
            kept = _kept(tx, restore)
        request = RestoreRequest(
            checkpoint_id=kept.checkpoint_id,
            backup_id=kept.id,
            server_id=restore.request.server_id,
            mappings=tuple(Mapping(volume.id, volume.volume_id) for volume in kept.volumes),
            power_on=power_on,
            restore_target=restore.request.restore_target,
        )
        return self._promise(project_id, request, undo_of=restore.id)

    def throttle(
        self, caller: Caller, project_id: ProjectId, id: RestoreId | None, bytes_per_second: int | None
    ) -> Restore | None:
        """Let a restore, or with *id* None all restores together, read and write disks that fast at most.

        *bytes_per_second* None: as fast as it goes.  Counts for what is under way too, within a second.

        Raises:
            Forbidden: only administrators throttle all.
        """
        caller.require(Action.RESTORES_THROTTLE, project_id)
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise InvalidRequest(f"bytes_per_second: {bytes_per_second} is not above 0; null takes the limit away")
        if id is None and not caller.may_everywhere(Action.RESTORES_THROTTLE):
            raise Forbidden("only an administrator may throttle the restores of all projects")
        with self._doors.records.begin() as tx:
            if id is None:
                restores.throttle_all(tx, bytes_per_second)
                return None
            return restores.throttle(tx, restores.restore(tx, project_id, id).id, bytes_per_second)

    def events(
        self, caller: Caller, project_id: ProjectId, id: RestoreId, after: int = 0
    ) -> Sequence[RunEvent]:
        """Return what the restore has told behind event number *after*; the last one of all is Told.END.

        Cheap enough to be asked again and again.
        """
        caller.require(Action.RESTORES_GET, project_id)
        with self._doors.records.read() as tx:
            return events.story(tx, restores.restore(tx, project_id, id).run_id, after=after)

    def _planned(self, project_id: ProjectId, request: RestoreRequest) -> RestorePlan:
        check_distinct(request.mappings)
        with self._doors.records.read() as tx:
            _backup(tx, project_id, request)  # before the cloud is asked anything
        server = self._doors.server(project_id, request.server_id)
        with self._doors.records.read() as tx:
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
            backup = _backup(tx, project_id, request)
            return plan_restore(request, backup, server, busy=busy, zones=self._doors.rules.zones)

    def _promise(self, project_id: ProjectId, request: RestoreRequest, undo_of: RestoreId | None = None) -> Restore:
        check_distinct(request.mappings)
        if not request.safety and not self._doors.rules.restores_without_safety:
            raise InvalidRequest("parameters.safety: false is not allowed by the operator of this service")
        with self._doors.records.read() as tx:
            _backup(tx, project_id, request)  # before the cloud is asked anything
        server = self._doors.server(project_id, request.server_id)
        # Check, rows and run are one transaction: nothing else can begin on the server or with the backup in
        # between, and there is never a promise without a run.
        with self._doors.records.begin() as tx:
            backup = _backup(tx, project_id, request)
            busy = None if server is None else servers.under_way(tx, project_id, server.id)
            plan = plan_restore(request, backup, server, busy=busy, zones=self._doors.rules.zones)
            restore = replace(_restore(tx, project_id, request, plan), undo_of=undo_of)
            backups.move(tx, backup.id, Event.RESTORE, lambda backup: replace(backup, progress=0))
            restores.add(tx, restore, plan)
            runs.enqueue(tx, restore.run_id, RunKind.RESTORE, restore.id, project_id, server=plan.server)
            events.add(tx, restore.run_id, Told.ACCEPTED, restore.id, total=restore.stats.total)
        self._doors.submit(restore.run_id)
        return restore


def _backup(tx: Transaction, project_id: ProjectId, request: RestoreRequest) -> Backup:
    checkpoints.checkpoint(tx, project_id, request.checkpoint_id)
    backup = backups.backup(tx, project_id, request.backup_id)
    if not same_id(backup.checkpoint_id, request.checkpoint_id):
        raise NotFound(
            f"backup {backup.id} is not in backup record {request.checkpoint_id}, it is in {backup.checkpoint_id}",
            code=Code.BACKUP_NOT_FOUND,
        )
    return backup


def _kept(tx: Transaction, restore: Restore) -> Backup:
    """Return the backup of what stood on the disks before."""
    if restore.safety_checkpoint_id is not None:
        kept = backups.of_checkpoint(tx, restore.safety_checkpoint_id)
        if kept:
            return kept[0]
    gone = "was kept before it wrote" if restore.safety_checkpoint_id is None else "that it had kept is left"
    raise InvalidRequest(f"restore {restore.id} cannot be undone: nothing {gone}", code=Code.NOT_RESTORABLE)


def _restore(tx: Transaction, project_id: ProjectId, request: RestoreRequest, plan: RestorePlan) -> Restore:
    volumes = tuple(
        VolumeRestore(
            volume_backup_id=mapping.volume_backup_id,
            volume_id=mapping.volume_id,
            size=volume.source.size,
            target_size=volume.target.size,
        )
        for mapping, volume in zip(request.mappings, plan.volumes, strict=True)
    )
    return Restore(
        id=RestoreId(new_id()),
        project_id=project_id,
        request=request,
        run_id=RunId(new_id()),
        state=RestoreState.IN_PROGRESS,
        created_at=tx.now,
        updated_at=tx.now,
        volumes=volumes,
        stats=RestoreStats(total=sum(volume.target_size for volume in volumes)),
    )
