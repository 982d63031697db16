"""The driver: domains and their disks as the rest of restead sees them."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from restead.domain.errors import Code, InvalidRequest, NotFound, ResteadError, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId, canonical_id, same_id
from restead.domain.server import Server, ServerStatus, Volume
from restead.drivers.disks.gateway import Gateway
from restead.drivers.disks.guard import Guard
from restead.drivers.disks.opener import Opener
from restead.drivers.disks.sizes import size_now, staying_whole
from restead.drivers.libvirt.connection import Connection, is_error, library, translated
from restead.drivers.libvirt.kept import DRIVER, describe, read_kept
from restead.drivers.libvirt.live import LiveMoments
from restead.drivers.libvirt.machine import Machine, MachineDisk, read_machine
from restead.drivers.libvirt.options import LibvirtOptions
from restead.drivers.libvirt.power import require_stopped, start, status_of, stop
from restead.drivers.libvirt.recreating import recreate
from restead.ports import BlockTarget, Moment


class LibvirtDriver:
    """Implements `Servers` and `Volumes` for the domains of one connection.

    *folder* is restead's data folder; *runtime* a short path for sockets.  A domain that nobody says a project of is
    no server: neither the settings nor its metadata.
    """

    def __init__(
        self,
        folder: Path,
        runtime: Path,
        options: LibvirtOptions,
        guard: Guard | None = None,
        connection: Connection | None = None,
    ) -> None:
        self._options = options
        self._guard = guard or Guard(own=folder)
        gateway = Gateway(options.qemu_nbd, runtime)
        self._opener = Opener(
            self._guard, gateway, direct_read=options.direct_read, direct_write=options.direct_write
        )
        self._connection = connection or Connection(options.uri)
        self._live = LiveMoments(
            folder / "scratch", options.scratch or folder / "scratch", options.scratch or runtime, options
        )

    @property
    def far(self) -> str:
        """The other machine whose domains these are, which are shown and switched and no more; "" if it is this one."""
        return self._options.host

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def projects(self) -> list[ProjectId]:
        """Return the projects that have domains, in order.  Raises Unavailable."""
        return sorted({project for project, _, _ in self.known()})

    def known(self) -> list[tuple[ProjectId, ServerId, str]]:
        """Return project, id and name of every domain that has a project.  Raises Unavailable."""
        every = [(self._project(machine), ServerId(machine.uuid), machine.name) for _, machine in self._all()]
        return [each for each in every if each[0]]

    def recreate(
        self, description: Mapping[str, Any], sizes: Mapping[VolumeId, int], say: Callable[[str], None]
    ) -> ServerId:
        """Define a lost domain again from its description in a backup, with disks of these sizes; return its id.

        *say*: what was done and what is missing.  When it raises nothing was done.

        Raises:
            InvalidRequest: it is there, or is none of libvirt's; a disk of it cannot be made.
            Unavailable: libvirt refuses, or something cannot be written.  Damaged: the description cannot be read.
        """
        kept = read_kept(description)
        return ServerId(recreate(self._connection.get(), kept, sizes, self._options, self._guard, say).uuid)

    # ------------------------------------------------------------------ Servers

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        domain, machine = self._found(project_id, server_id)
        description = describe(machine, self._defined(domain), self._options)
        return replace(self._described(domain, machine), description=description)

    def servers(self, project_id: ProjectId) -> list[Server]:
        found = [self._described(*each) for each in self._all() if self._project(each[1]) == project_id]
        return sorted(found, key=lambda server: (server.name, server.id))

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        stop(self._found(project_id, server_id)[0], grace)

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        start(self._found(project_id, server_id)[0])

    # ------------------------------------------------------------------ Volumes

    @contextmanager
    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> Iterator[Moment]:
        """Open disks of a domain; of a stopped one all are locked before the first byte is read.

        Raises:
            NotFound, Unavailable: as the port says, and for a disk that is shorter than its running domain believes; at
                closing Unavailable: a disk was changed meanwhile, of a running domain: cut.
            InvalidRequest: a disk is none that is opened.
        """
        domain, machine = self._found(project_id, server_id)
        disks = {volume_id: self._disk(machine, volume_id) for volume_id in volume_ids}
        files = {volume_id: disk.definition for volume_id, disk in disks.items()}
        if status_of(domain) is ServerStatus.RUNNING:
            sizes = {disk.target: _served_size(domain, disk) for disk in disks.values()}
            with self._live.opened(domain, machine, disks, sizes) as live, staying_whole(files, live.sources):
                yield live
            return
        require_stopped(domain)
        with self._opener.moment(files) as moment:
            yield moment

    @contextmanager
    def open_target(self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId) -> Iterator[BlockTarget]:
        domain, machine = self._found(project_id, server_id)
        disk = self._disk(machine, volume_id)
        require_stopped(domain)
        self._live.forget_checkpoints(domain, machine)  # they do not know what we write
        with self._opener.target(disk.definition) as target:
            yield target

    def retire(self, project_id: ProjectId, server_id: ServerId, kept: Mapping[VolumeId, str]) -> None:
        domain, machine = self._found(project_id, server_id)
        generations = {canonical_id(id): generation for id, generation in kept.items()}
        by_target = {disk.target: generations[disk.id] for disk in machine.disks if disk.id in generations}
        self._live.retire(domain, machine, by_target)

    def clean_up(self, check: Callable[[], None]) -> None:
        """End what killed services have left of live backups; *check* raises if there is no time any more.

        Raises:
            Unavailable: one of them does not answer; all the others are done.
        """
        failed: ResteadError | None = None
        for domain, machine in self._all():
            check()
            try:
                self._live.clean_up(domain, machine)
            except ResteadError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    # ------------------------------------------------------------------ inside

    def _all(self) -> list[tuple[Any, Machine]]:
        connection, found = self._connection.get(), []
        with translated(f"domains of {self._options.uri}"):
            domains = connection.listAllDomains()
        for domain in domains:
            try:
                found.append((domain, self._machine(domain)))
            except NotFound:  # undefined since it was listed
                continue
        return found

    def _found(self, project_id: ProjectId, server_id: ServerId) -> tuple[Any, Machine]:
        """Return a domain of the project.  Raises NotFound."""
        libvirt = library()
        try:
            wanted = str(uuid.UUID(server_id))
        except ValueError:
            raise _not_found(server_id) from None
        connection = self._connection.get()
        try:
            domain = connection.lookupByUUIDString(wanted)
        except libvirt.libvirtError as error:
            if is_error(error, "VIR_ERR_NO_DOMAIN"):
                raise _not_found(server_id) from None
            raise Unavailable(f"domain {server_id}: {error.get_error_message()}", detail=str(error)) from error
        machine = self._machine(domain)
        if self._project(machine) != project_id:
            raise _not_found(server_id)
        return domain, machine

    def _machine(self, domain: Any) -> Machine:
        """Read what runs; of a domain that does not, what is defined.  Raises NotFound: it is gone."""
        return read_machine(self._xml(domain))

    def _defined(self, domain: Any) -> str:
        """Return what is defined; of a domain that is not, what runs.  Raises NotFound: it is gone."""
        return self._xml(domain, library().VIR_DOMAIN_XML_INACTIVE if domain.isPersistent() else 0)

    def _xml(self, domain: Any, flags: int = 0) -> str:
        libvirt = library()
        try:
            return str(domain.XMLDesc(flags))
        except libvirt.libvirtError as error:
            if is_error(error, "VIR_ERR_NO_DOMAIN"):
                raise _not_found(ServerId(domain.UUIDString())) from None
            raise Unavailable(f"domain {domain.name()}: {error.get_error_message()}", detail=str(error)) from error

    def _project(self, machine: Machine) -> ProjectId:
        return ProjectId(self._options.project_of(machine.name, machine.uuid, machine.project))

    def _disk(self, machine: Machine, volume_id: VolumeId) -> MachineDisk:
        """Return a disk that can be opened here.

        Raises:
            NotFound: the domain has none of that id.
            InvalidRequest: it is none that is opened, or one of another machine.
        """
        for disk in machine.disks:
            if same_id(disk.id, volume_id):
                if disk.strange:
                    raise InvalidRequest(f"disk {disk.id} ({disk.target} of domain {machine.name}) {disk.strange}")
                if self._options.host:
                    raise InvalidRequest(f"disk {disk.id} is on {self._options.host}: libvirt at {self._options.uri} "
                                         "shows and switches its domains, their disks open on that machine alone")
                return disk
        raise NotFound(f"server {machine.uuid} has no disk {volume_id}", code=Code.VOLUME_NOT_ATTACHED)

    def _described(self, domain: Any, machine: Machine) -> Server:
        status, persistent = status_of(domain), bool(domain.isPersistent())
        sizes = [self._size(domain, disk) for disk in machine.disks]
        trouble = "; ".join(f"disk {d.target}: {why}" for d, (_, why) in zip(machine.disks, sizes, strict=True) if why)
        if trouble and status is not ServerStatus.BUSY:
            status = ServerStatus.ERROR
        return Server(
            id=ServerId(machine.uuid), project_id=self._project(machine), name=machine.name, status=status,
            volumes=tuple(
                Volume(disk.id, disk.target, size, disk.boot, disk.shared, disk.path)
                for disk, (size, _) in zip(machine.disks, sizes, strict=True)
            ),
            architecture=machine.architecture, memory=machine.memory, cpus=machine.cpus,
            can_stop=persistent, can_start=True, can_back_up_running=not self._options.host,
            host=domain.connect().getHostname(), disks_at=self._options.host, tags=machine.tags,
            trouble=trouble if status is ServerStatus.ERROR else "", description={"driver": DRIVER},
        )  # fmt: skip

    def _size(self, domain: Any, disk: MachineDisk) -> tuple[int, str]:
        """Return the bytes of a disk, and ""; or 0, and why it cannot be looked at."""
        if disk.strange or self._options.host:
            return _told_size(domain, disk)
        return size_now(disk.definition)


def _served_size(domain: Any, disk: MachineDisk) -> int:
    with translated(f"size of disk {disk.id}"):
        return int(domain.blockInfo(disk.target)[0])


def _told_size(domain: Any, disk: MachineDisk) -> tuple[int, str]:
    libvirt = library()
    try:
        return int(domain.blockInfo(disk.target)[0]), ""
    except libvirt.libvirtError as error:
        return 0, f"{disk.path or disk.target}: {error.get_error_message()}"


def _not_found(server_id: ServerId) -> NotFound:
    return NotFound(f"there is no server {server_id}", code=Code.SERVER_NOT_FOUND)
