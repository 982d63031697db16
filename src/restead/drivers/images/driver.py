"""The driver: servers and volumes as the rest of restead sees them."""

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from restead.domain.errors import Code, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId, same_id
from restead.domain.server import Server, ServerStatus, Volume
from restead.drivers.disks.backing import backing_of
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.gateway import Gateway
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.holding import require_unused
from restead.drivers.disks.looks import looks_like
from restead.drivers.disks.opener import OfflineMoment, Opener
from restead.drivers.disks.qcow2_opening import require_image
from restead.drivers.disks.sizes import size_now, staying_whole
from restead.drivers.images.accel import Accel, Accelerator
from restead.drivers.images.definition import Power, ServerDefinition
from restead.drivers.images.fresh import NewImage, SparseTarget, fresh_images
from restead.drivers.images.live import LiveMoment, LiveMoments
from restead.drivers.images.power import CommandSwitch, NoSwitch, PowerSwitch
from restead.drivers.images.qemu import QemuSwitch
from restead.drivers.images.registry import Registry, check_backing, not_found
from restead.drivers.images.stored import from_json, to_json
from restead.ports import BlockTarget


@dataclass(frozen=True, slots=True)
class ImagesOptions:
    """What an operator may choose; `docs/drivers.md` says what each is for."""

    direct_read: bool = False  # read disks past the page cache
    direct_write: bool = True  # write disks past the page cache
    accel: Accel = Accel.AUTO  # how QEMU runs servers
    qemu: str = "qemu-system-x86_64"  # program that runs servers with power qemu
    qemu_nbd: str = "qemu-nbd"  # program that reads and writes qcow2 disks
    freeze_limit: timedelta = timedelta(seconds=10)  # that a guest has to freeze its file systems; 0: it is not asked
    filters: bool = True  # False: live backups as with a QEMU that has no filters for them
    answer_limit: timedelta = timedelta(seconds=30)  # in which a QEMU that is backed up answers; it takes milliseconds


class ImagesDriver:
    """Implements `Servers` and `Volumes` for servers that an operator has described.

    *folder* is restead's data folder; *runtime* a short path for sockets.  Every call reads what is true now:
    several processes may work with one folder.
    """

    def __init__(
        self, folder: Path, runtime: Path, options: ImagesOptions = ImagesOptions(), guard: Guard | None = None
    ) -> None:
        self._options = options
        self._guard = guard or Guard(own=folder)
        self._registry = Registry(folder / "servers")
        accelerator = Accelerator(options.accel, options.qemu, runtime / "accel.json")
        self._gateway = Gateway(options.qemu_nbd, runtime)
        self._opener = Opener(
            self._guard, self._gateway, direct_read=options.direct_read, direct_write=options.direct_write
        )
        self._qemu = QemuSwitch(runtime, self._registry, accelerator)
        self._live = LiveMoments(
            self._qemu, self._registry, folder / "scratch",
            answer_limit=options.answer_limit, freeze_limit=options.freeze_limit,
            filters=options.filters,
        )  # fmt: skip
        self._switches: dict[Power, PowerSwitch] = {
            Power.NONE: NoSwitch(), Power.COMMAND: CommandSwitch(), Power.QEMU: self._qemu,
        }  # fmt: skip

    # ------------------------------------------------------------------ what operators do

    def add(self, definition: ServerDefinition) -> ServerDefinition:
        """Store a server durably, complete with ids; see `Registry.add`.

        Raises:
            InvalidRequest: as there; a disk is restead's own.
            Unavailable: a disk is qcow2 and qemu-nbd is missing.
        """
        for disk in definition.disks:
            if self._guard.is_own(disk.path):
                raise InvalidRequest(f"disk {disk.path} belongs to restead's own data folder")
            if disk.format == "qcow2":
                self._gateway.program()
        return self._registry.add(definition)

    def put_back(self, kept: Sequence[Mapping[str, object]]) -> list[str]:
        """Store definitions that were kept elsewhere, unless there is a server of that id; return their names.

        Disks are not looked at: where one is missing the server is in state ERROR until that is put right.

        Raises:
            Unavailable: a newer restead wrote one.  Damaged: one cannot be read.
        """
        definitions = [from_json(each, f"{each.get('id')}, kept in the repository") for each in kept]
        return [each.name for each in definitions if self._registry.put_back(each)]

    def remove(self, server_id: ServerId) -> None:
        """Forget a stopped server; its disks are not touched.  Raises NotFound; InvalidRequest if it runs."""
        definition = self._registry.definition(server_id)
        with self._registry.held(server_id):
            if self._switch(definition).is_running(definition):
                raise InvalidRequest(f"server {server_id} is running: stop it before it is removed")
            self._registry.remove(server_id)

    def definition(self, server_id: ServerId) -> ServerDefinition:
        """Return a server's definition, whatever its project.  Raises NotFound."""
        return self._registry.definition(server_id)

    def definitions(self) -> list[ServerDefinition]:
        """Return the definitions of all projects' servers, by name."""
        return self._registry.definitions()

    def serial_log(self, server_id: ServerId) -> Path:
        """Return the file that a server with power qemu writes its first serial line to, whether it exists or not."""
        return self._qemu.places(self._registry.definition(server_id)).serial

    # ------------------------------------------------------------------ Servers

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        definition = self._definition(project_id, server_id)
        running = self._switch(definition).is_running(definition)
        return self._described(definition, ServerStatus.RUNNING if running else ServerStatus.STOPPED)

    def servers(self, project_id: ProjectId) -> list[Server]:
        """Describe all servers of a project; one whose power cannot be found out is in state ERROR."""
        found = []
        for definition in self._registry.definitions():
            if definition.project != project_id:
                continue
            try:
                running = self._switch(definition).is_running(definition)
                server = self._described(definition, ServerStatus.RUNNING if running else ServerStatus.STOPPED)
            except Unavailable as error:
                server = replace(self._described(definition, ServerStatus.ERROR), trouble=error.message)
            found.append(server)
        return found

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        definition = self._definition(project_id, server_id)
        self._switch(definition).stop(definition, grace)

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        definition = self._definition(project_id, server_id)
        switch = self._switch(definition)
        if definition.power is not Power.NONE and not switch.is_running(definition):
            for disk in definition.disks:
                require_unused(disk, self._guard)
                if disk.format == "qcow2":
                    require_image(disk)
        switch.start(definition)

    # ------------------------------------------------------------------ Volumes

    @contextmanager
    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> Iterator[OfflineMoment | LiveMoment]:
        """Open disks of a server; of a stopped one all are locked before the first byte is read.

        Raises:
            NotFound, Unavailable: as the port says, and for a raw disk that is shorter than its running server
                believes; at closing Unavailable: a disk was changed meanwhile, of a running server: cut.
        """
        definition = self._definition(project_id, server_id)
        disks = {volume_id: _disk(definition, volume_id) for volume_id in volume_ids}
        if definition.power is Power.QEMU and self._qemu.is_running(definition):
            with self._live.opened(definition, disks) as live, staying_whole(disks, live.sources):
                yield live
            return
        self._require_stopped(definition)
        with self._opener.moment(disks) as moment:
            yield moment

    def retire(self, project_id: ProjectId, server_id: ServerId, kept: Mapping[VolumeId, str]) -> None:
        """See `RetiresGenerations`; a stopped server's images are left as they are.  Raises NotFound, Unavailable."""
        definition = self._definition(project_id, server_id)
        if definition.power is Power.QEMU:
            self._live.retire(definition, {_disk(definition, id): generation for id, generation in kept.items()})

    def clean_up(self, check: Callable[[], None]) -> None:
        """Undo, in all servers that run, what a killed service has left of live backups; *check* ends it by raising.

        Raises:
            Unavailable: one of them does not answer; all the others are done.
        """
        failed: ResteadError | None = None
        for definition in self._registry.definitions():
            check()
            try:
                if definition.power is Power.QEMU:
                    self._live.clean_up(definition)
            except ResteadError as error:  # NotFound: it was removed meanwhile
                failed = failed or error
        if failed is not None:
            raise failed

    @contextmanager
    def open_target(self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId) -> Iterator[BlockTarget]:
        definition = self._definition(project_id, server_id)
        disk = _disk(definition, volume_id)
        self._require_stopped(definition)
        with self._opener.target(disk) as target:
            yield target

    # ------------------------------------------------------------------ images that are no server's disks

    @contextmanager
    def open_images(self, disks: Mapping[VolumeId, DiskDefinition]) -> Iterator[OfflineMoment]:
        """Open images for reading, to be backed up as the disks of these ids; all are locked before anything is read.

        The moment is when the newest of them was changed last; of a device nobody knows that, so it is now.

        Raises:
            InvalidRequest: one is missing or cannot be a disk.
            Unavailable: one is in use, or qemu-nbd is missing; at closing: one was changed meanwhile.
        """
        for disk in disks.values():
            check_backing(disk)
        with self._opener.moment(disks) as moment:
            now = moment.taken_at
            yield replace(moment, taken_at=min(now, max(_changed_at(disk, now) for disk in disks.values())))

    @contextmanager
    def new_images(self, images: Mapping[VolumeId, NewImage]) -> Iterator[Mapping[VolumeId, BlockTarget]]:
        """Make images, all zero, and open them for writing; each stretch of one is to be written once.

        When the block is left well, they are durable and in their places; else nothing of them is there.  A process
        that is killed leaves FILE.part.

        Raises:
            InvalidRequest: something is in one's place, or comes there meanwhile; nothing of it is touched.
            Unavailable: one cannot be made, or qemu-nbd is missing; an error while it is closed.
        """
        with fresh_images(list(images.values())) as made, ExitStack() as opened:
            yield {
                id: SparseTarget(opened.enter_context(self._opener.target(one.disk)))
                for id, one in zip(images, made, strict=True)
            }

    def looks(self, path: Path) -> str:
        """Return the format that a raw image may be of instead, by its first bytes; "" if none is known."""
        try:
            return looks_like(backing_of(path))
        except OSError:  # whoever opens it says so
            return ""

    # ------------------------------------------------------------------ inside

    def _definition(self, project_id: ProjectId, server_id: ServerId) -> ServerDefinition:
        definition = self._registry.definition(server_id)
        if definition.project != project_id:
            raise not_found(server_id)
        return definition

    def _switch(self, definition: ServerDefinition) -> PowerSwitch:
        return self._switches[definition.power]

    def _require_stopped(self, definition: ServerDefinition) -> None:
        if self._switch(definition).is_running(definition):
            raise Unavailable(f"server {definition.id} is running; its disks open when it is stopped")

    def _described(self, definition: ServerDefinition, status: ServerStatus) -> Server:
        volumes, troubles = [], []
        for disk in definition.boot_first:
            size, why = size_now(disk)
            troubles += [f"disk {disk.name}: {why}"] if why else []  # the server is in state ERROR until that is right
            volumes.append(Volume(disk.id, disk.name, size, disk.boot, disk.shared, str(disk.path)))
        can_switch = definition.power is not Power.NONE
        return Server(
            id=definition.id, project_id=definition.project, name=definition.name,
            status=ServerStatus.ERROR if troubles else status, volumes=tuple(volumes), architecture=definition.arch,
            zone=definition.zone, memory=definition.memory, cpus=definition.cpus,
            private_address=_address(definition, private=True), public_address=_address(definition, private=False),
            can_stop=can_switch, can_start=can_switch, host=os.uname().nodename, tags=definition.tags,
            can_back_up_running=definition.power is Power.QEMU and not any(disk.shared for disk in definition.disks),
            trouble="; ".join(troubles), description={"driver": "images", "definition": to_json(definition)},
        )  # fmt: skip


def _disk(definition: ServerDefinition, volume_id: VolumeId) -> DiskDefinition:
    for disk in definition.disks:
        if same_id(disk.id, volume_id):
            return disk
    raise NotFound(f"server {definition.id} has no disk {volume_id}", code=Code.VOLUME_NOT_ATTACHED)


def _changed_at(disk: DiskDefinition, now: datetime) -> datetime:
    try:
        backing = backing_of(disk.path)
        return now if backing.is_device else datetime.fromtimestamp(backing.path.stat().st_mtime, UTC)
    except OSError as error:
        raise Unavailable(f"disk {disk.id} was removed while it was opened", detail=str(error)) from error


def _address(definition: ServerDefinition, *, private: bool) -> str:
    return next((one for one in definition.addresses if ipaddress.ip_address(one).is_private == private), "")
