"""A cloud in memory: `Servers` and `Volumes`, honest about exclusion, holes and what is not yet on stable storage.

It passes the conformance suites.  What a test may do to it beyond the ports: add servers, look at a disk from outside
(`bytes_of`), let its bytes rot (`rot`), limit its space (`space`), let disks forget where they were written (`tracks`),
cut the power (`lose_unflushed`), and be called before every operation (`before`), there to raise whatever a cloud may
raise.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from restead.domain.errors import Code, InvalidRequest, NotFound, Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import ProjectId, ServerId, VolumeId, canonical_id, new_id, same_id
from restead.domain.server import Server, ServerStatus, Volume
from restead.ports import Consistency

_PAGE = 4096  # bytes: how fine this cloud knows its holes
Buffer = bytes | bytearray | memoryview


@dataclass
class _Disk:
    """A disk's bytes now, and those that a power cut would bring back."""

    now: bytearray
    lost_at_power_cut: list[tuple[int, bytes]] = field(default_factory=list)  # offset and bytes before, oldest first
    readers: int = 0
    writers: int = 0
    pages: set[int] = field(default_factory=set)  # those that take space
    rotten: dict[int, int] = field(default_factory=dict)  # offset to byte: what the medium holds instead
    history: list[tuple[int, int]] = field(default_factory=list)  # (offset, length) of all that ever changed
    strangers: int = 0  # writes from outside
    name: str = field(default_factory=new_id)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, offset: int, data: bytes) -> None:
        with self.lock:
            self.lost_at_power_cut.append((offset, bytes(self.now[offset : offset + len(data)])))
            self.history.append((offset, len(data)))
            self.now[offset : offset + len(data)] = data
            self.rotten = {at: byte for at, byte in self.rotten.items() if not offset <= at < offset + len(data)}

    def forget_unflushed(self) -> None:
        """As after a failed flush: memory holds what was written and believes it clean, the medium what was before."""
        with self.lock:
            self.history.append((0, len(self.now)))
            before = bytearray(self.now)
            for offset, old in reversed(self.lost_at_power_cut):
                before[offset : offset + len(old)] = old
            self.lost_at_power_cut.clear()
            for at in range(len(before)):
                if before[at] != self.now[at]:
                    self.rotten[at] = before[at]

    def medium(self, offset: int, length: int) -> bytes:
        found = bytearray(self.now[offset : offset + length])
        for at, byte in self.rotten.items():
            if offset <= at < offset + length:
                found[at - offset] = byte
        return bytes(found)


@dataclass(frozen=True)
class _Moment:
    taken_at: datetime
    sources: Mapping[VolumeId, "MemorySource"]
    consistency: Consistency = Consistency.OFFLINE


class MemoryCloud:
    """Servers whose disks are byte arrays."""

    def __init__(self, before: Callable[[str], None] = lambda operation: None) -> None:
        self.before = before  # called with the operation's name; what it raises, the operation raises
        self.tracks = True  # whether its disks know where they were written
        self.space: int | None = None  # bytes that all disks together may still take; None: without end
        self.log: list[str] = []  # "start ID" and "stop ID", in order, each when it is done
        self._servers: dict[str, Server] = {}
        self._disks: dict[str, _Disk] = {}
        self._lock = threading.RLock()

    # ------------------------------------------------------------------ for tests

    def add(
        self, project_id: ProjectId, sizes: Sequence[int], name: str = "web-1", *, can_start: bool = True,
        server_id: str = "", volume_ids: Sequence[str] = (),
    ) -> Server:  # fmt: skip
        """Make a stopped server with a zeroed disk of each of these sizes, the first one bootable."""
        ids = volume_ids or [new_id() for _ in sizes]
        volumes = tuple(Volume(VolumeId(id), f"disk-{number}", size, bootable=number == 0)
                        for number, (id, size) in enumerate(zip(ids, sizes, strict=True)))  # fmt: skip
        server = Server(ServerId(server_id or new_id()), project_id, name, ServerStatus.STOPPED, volumes,
                        can_stop=can_start, can_start=can_start, description={"driver": "memory"})  # fmt: skip
        self.put(server)
        return server

    def put(self, server: Server) -> None:
        """Make this server exist as it is described; disks that are new are zeroes, others get the stated size."""
        with self._lock:
            self._servers[canonical_id(server.id)] = server
            for volume in server.volumes:
                disk = self._disks.setdefault(canonical_id(volume.id), _Disk(bytearray(volume.size)))
                if len(disk.now) != volume.size:
                    disk.history.append((0, max(len(disk.now), volume.size)))
                    disk.now = disk.now[: volume.size].ljust(volume.size, b"\0")

    def replace_disk(self, volume_id: VolumeId, data: bytes) -> None:
        """Put another disk in the place of this one, as large, under the same id."""
        self._disks[canonical_id(volume_id)] = _Disk(bytearray(data))

    def remove(self, server_id: ServerId) -> None:
        """Let the server be gone."""
        del self._servers[canonical_id(server_id)]

    def bytes_of(self, volume_id: VolumeId) -> bytes:
        """Return what the disk holds now."""
        disk = self._disks[canonical_id(volume_id)]
        return disk.medium(0, len(disk.now))

    def allocated(self, volume_id: VolumeId) -> int:
        """Return the bytes of space that the disk takes."""
        return len(self._disks[canonical_id(volume_id)].pages) * _PAGE

    def disk_of(self, volume_id: VolumeId) -> "MemorySource":
        """Return the disk to look at, whoever uses it."""
        return MemorySource(self, volume_id, self._disks[canonical_id(volume_id)])

    def rot(self, volume_id: VolumeId, offset: int) -> None:
        """Let the medium hold another byte than the one that is still in memory."""
        disk = self._disks[canonical_id(volume_id)]
        disk.rotten[offset] = disk.now[offset] ^ 0xFF

    def fill(self, volume_id: VolumeId, data: bytes, offset: int = 0) -> None:
        """Put *data* on the disk from outside, durably."""
        disk = self._disks[canonical_id(volume_id)]
        disk.now[offset : offset + len(data)] = data
        disk.history.append((offset, len(data)))
        disk.strangers += 1
        disk.pages.update(_pages(offset, len(data)))

    def lose_unflushed(self, chance: random.Random | None = None) -> None:
        """Cut the power: of what was written since the last flush all, or with *chance* some, is as it was before."""
        for disk in self._disks.values():
            for offset, old in reversed(disk.lost_at_power_cut):
                if chance is None or chance.random() < 0.5:
                    disk.now[offset : offset + len(old)] = old
                    disk.history.append((offset, len(old)))
            disk.lost_at_power_cut.clear()
            disk.readers = disk.writers = 0

    # ------------------------------------------------------------------ Servers

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        self.before("server")
        return self._found(project_id, server_id)

    def servers(self, project_id: ProjectId) -> list[Server]:
        self.before("servers")
        mine = [server for server in self._servers.values() if server.project_id == project_id]
        return sorted(mine, key=lambda server: server.name)

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        self.before("stop")
        server = self._found(project_id, server_id)
        if server.status is ServerStatus.RUNNING:
            self._switch(server, ServerStatus.STOPPED)
            self.log.append(f"stop {server.id}")

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        self.before("start")
        with self._lock:
            server = self._found(project_id, server_id)
            if not server.can_start:
                raise InvalidRequest(f"server {server.id} cannot be started", code=Code.SERVER_KIND_NOT_RESTORABLE)
            for volume in server.volumes:
                disk = self._disks[canonical_id(volume.id)]
                if disk.readers or disk.writers:
                    raise Unavailable(f"server {server.id}: disk {volume.id} is in use")
            if server.status is not ServerStatus.RUNNING:
                self._switch(server, ServerStatus.RUNNING)
                self.log.append(f"start {server.id}")

    # ------------------------------------------------------------------ Volumes

    @contextmanager
    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> Iterator[_Moment]:
        self.before("open_moment")
        disks = [self._take(project_id, server_id, id, writing=False) for id in volume_ids]
        try:
            sources = {id: MemorySource(self, id, disk) for id, disk in zip(volume_ids, disks, strict=True)}
            yield _Moment(datetime.now(UTC), sources)
        finally:
            with self._lock:
                for disk in disks:
                    disk.readers = max(0, disk.readers - 1)

    @contextmanager
    def open_target(
        self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId
    ) -> Iterator["MemoryTarget"]:
        self.before("open_target")
        disk = self._take(project_id, server_id, volume_id, writing=True)
        try:
            yield MemoryTarget(self, volume_id, disk)
        finally:
            disk.writers = 0

    # ------------------------------------------------------------------ inside

    def take_space(self, volume_id: VolumeId, disk: _Disk, pages: set[int]) -> None:
        with self._lock:
            new = pages - disk.pages
            if self.space is not None:
                if len(new) * _PAGE > self.space:
                    raise Unavailable(f"disk {volume_id}: no space left: {self.space} bytes, {len(new) * _PAGE} needed")
                self.space -= len(new) * _PAGE
            disk.pages |= new

    def give_space(self, disk: _Disk, pages: set[int]) -> None:
        with self._lock:
            if self.space is not None:
                self.space += len(pages & disk.pages) * _PAGE
            disk.pages -= pages

    def _found(self, project_id: ProjectId, server_id: ServerId) -> Server:
        server = self._servers.get(canonical_id(server_id))
        if server is None or server.project_id != project_id:
            raise NotFound(f"there is no server {server_id}", code=Code.SERVER_NOT_FOUND)
        return server

    def _switch(self, server: Server, status: ServerStatus) -> None:
        self._servers[canonical_id(server.id)] = replace(server, status=status)

    def _take(self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId, *, writing: bool) -> _Disk:
        with self._lock:
            server = self._found(project_id, server_id)
            if not any(same_id(volume.id, volume_id) for volume in server.volumes):
                raise NotFound(f"server {server_id} has no disk {volume_id}", code=Code.VOLUME_NOT_ATTACHED)
            disk = self._disks[canonical_id(volume_id)]
            if server.status is ServerStatus.RUNNING or disk.writers or (writing and disk.readers):
                raise Unavailable(f"disk {volume_id} is in use")
            disk.writers += writing
            disk.readers += not writing
            return disk


class MemorySource:
    """A disk open for reading."""

    def __init__(self, cloud: MemoryCloud, volume_id: VolumeId, disk: _Disk) -> None:
        self._cloud = cloud
        self._id = volume_id
        self._disk = disk
        self._lost = ""

    @property
    def size(self) -> int:
        return len(self._disk.now)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._begin("read", offset, buffer.nbytes)
        buffer.cast("B")[:] = self._disk.now[offset : offset + buffer.nbytes]

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        self._begin("reread", offset, buffer.nbytes)
        buffer.cast("B")[:] = self._disk.medium(offset, buffer.nbytes)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._begin("extents", offset, length)
        return self._extents(offset, offset + length)

    def identity(self) -> str:
        return self._disk.name

    def is_another(self, identity: str) -> bool:
        return identity != self._disk.name

    def generation(self) -> str:
        self._begin("generation", 0, 0)
        return f"{self._disk.name} {len(self._disk.history)}" if self._cloud.tracks else ""

    def changed_since(self, generation: str) -> list[tuple[int, int]] | None:
        self._begin("changed_since", 0, 0)
        name, _, count = generation.partition(" ")
        return self._disk.history[int(count) :] if self._cloud.tracks and name == self._disk.name else None

    def _extents(self, at: int, end: int) -> Iterator[Extent]:
        start, data = at, False
        doubtful = {place // _PAGE for place in self._disk.rotten}  # a page that memory and medium differ in is no hole
        while at < end:
            stop = min(at // _PAGE * _PAGE + _PAGE, end)
            number = at // _PAGE
            page = self._disk.now[number * _PAGE : number * _PAGE + _PAGE]
            holds_data = page.count(0) < len(page) or number in doubtful
            if holds_data != data:
                if at > start:
                    yield Extent(start, at - start, data)
                start, data = at, holds_data
            at = stop
        if at > start:
            yield Extent(start, at - start, data)

    def _begin(self, operation: str, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"disk {self._id} holds {self.size} bytes, {length} at {offset} were asked for")
        if self._lost:
            raise Unavailable(self._lost)
        self._cloud.before(operation)


class MemoryTarget(MemorySource):
    """A disk open for writing; it keeps space and is read past caches."""

    def __init__(self, cloud: MemoryCloud, volume_id: VolumeId, disk: _Disk) -> None:
        super().__init__(cloud, volume_id, disk)
        self._strangers = disk.strangers

    def generation(self) -> str:
        found = super().generation()
        return found if self._disk.strangers == self._strangers else ""

    def write_at(self, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._begin("write", offset, len(view))
        self._cloud.take_space(self._id, self._disk, _pages(offset, len(view)))
        self._disk.change(offset, bytes(view))

    def zero_at(self, offset: int, length: int) -> None:
        self._begin("zero", offset, length)
        self._disk.change(offset, bytes(length))
        self._cloud.give_space(self._disk, _whole_pages(offset, length))

    def blank_at(self, offset: int, length: int) -> None:
        self._begin("blank", offset, length)
        self._disk.change(offset, bytes(length))

    def reserve(self, offset: int, length: int) -> None:
        self._begin("reserve", offset, length)
        self._cloud.take_space(self._id, self._disk, _pages(offset, length))

    def punch(self, offset: int, length: int) -> None:
        self._begin("punch", offset, length)
        if any(self._disk.now[offset : offset + length]):
            raise Unavailable(f"disk {self._id}: {length} bytes at {offset} are not zero; their space is kept")
        self._cloud.give_space(self._disk, _whole_pages(offset, length))

    def flush(self) -> None:
        try:
            self._begin("flush", 0, 0)
        except Unavailable:
            self._lost = f"disk {self._id}: a flush failed; what it holds is unknown"
            self._disk.forget_unflushed()
            raise
        with self._disk.lock:
            self._disk.lost_at_power_cut.clear()


def _pages(offset: int, length: int) -> set[int]:
    """Return the pages that a stretch touches."""
    return set(range(offset // _PAGE, -(-(offset + length) // _PAGE))) if length else set()


def _whole_pages(offset: int, length: int) -> set[int]:
    return set(range(-(-offset // _PAGE), (offset + length) // _PAGE))
