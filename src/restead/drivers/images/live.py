"""The disks of a running server at one moment, while its guest goes on: `LiveMoments` opens them.

Conversations with QEMU are short, at the beginning and at the end, so that the server can be stopped in between.  What
has to be undone is noted before it is done; if we are killed, whoever opens the next moment undoes it, or `clean_up`.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from restead.domain.errors import Unavailable
from restead.domain.ids import ServerId, VolumeId, canonical_id
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.images import bitmaps
from restead.drivers.images.at_rest import at_rest, thawed
from restead.drivers.images.bitmaps import Chain, chain_of
from restead.drivers.images.commandline import Places
from restead.drivers.images.definition import ServerDefinition
from restead.drivers.images.filters import Filters
from restead.drivers.images.fleecing import Fleecing
from restead.drivers.images.left_over import LeftOver, Note, noting
from restead.drivers.images.live_disk import DEVICES, Disk, Way, devices_in, export_of
from restead.drivers.images.live_nodes import disk_nodes, serve, take_out
from restead.drivers.images.live_source import LiveSource
from restead.drivers.images.process import find
from restead.drivers.images.qemu import QemuSwitch
from restead.drivers.images.qmp import Command, Monitor, NoAnswer, Refused, talking
from restead.drivers.images.registry import Registry
from restead.drivers.nbd import NbdClient
from restead.ports import BlockSource, Consistency


@dataclass(frozen=True, slots=True)
class LiveMoment:
    """The disks of a running server as they were at *taken_at*."""

    taken_at: datetime
    sources: Mapping[VolumeId, BlockSource]
    consistency: Consistency
    pause: timedelta  # for which the guest stood still


class LiveMoments:
    """Opens moments of running servers.

    *scratch*: the folder for what guests overwrite meanwhile; *answer_limit*: how long one answer of QEMU may take;
    *freeze_limit*: how long a guest's agent has to freeze its file systems; zero: it is not asked;
    *filters*: whether QEMU's filters are used if it has them.
    """

    def __init__(
        self,
        switch: QemuSwitch,
        registry: Registry,
        scratch: Path,
        *,
        answer_limit: timedelta,
        freeze_limit: timedelta,
        filters: bool,
    ) -> None:
        self._filters = filters
        self._freeze_limit = freeze_limit.total_seconds()
        self._answer_limit = answer_limit.total_seconds()
        self._switch = switch
        self._registry = registry
        self._scratch = scratch

    @contextmanager
    def opened(
        self, definition: ServerDefinition, disks: Mapping[VolumeId, DiskDefinition]
    ) -> Iterator[LiveMoment]:
        """Open these disks of a running server, all at one moment.

        Raises:
            Unavailable: a disk is shared, another moment of the server is open, QEMU does not do it or is gone.
        """
        for disk in disks.values():
            if disk.shared:
                raise Unavailable(f"disk {disk.id} of server {definition.id} is shared with other servers, which may "
                                  "write to it: it is backed up while the server is stopped")
        places = self._switch.places(definition)
        with noting(places.live) as note:
            if note is None:
                raise Unavailable(f"server {definition.id} is being backed up already")
            try:
                begun = self._begin(definition, places, note, list(disks.values()))
            except BaseException:
                with suppress(Unavailable):  # it stays noted; whoever has an error already is not told of another
                    self._end(definition, places, note)
                raise
            try:
                with ExitStack() as connected:
                    sources = {
                        id: connected.enter_context(_source(definition, disk, places, begun.chains))
                        for id, disk in disks.items()
                    }
                    yield LiveMoment(begun.at, sources, begun.consistency, begun.pause)
            except BaseException:
                with suppress(Unavailable):
                    self._end(definition, places, note, unwanted=begun.chains)
                raise
            self._end(definition, places, note)

    def clean_up(self, definition: ServerDefinition) -> None:
        """Undo what a killed service has left of a live backup in this server, unless somebody is at it.

        Raises:
            Unavailable: QEMU does not answer; it stays noted.
        """
        places = self._switch.places(definition)
        if not places.live.exists():
            return
        with self._registry.held(definition.id), noting(places.live) as note:
            if note is not None and note.read() is not None:
                self._undo_all(definition, places, note, {})

    def retire(self, definition: ServerDefinition, kept: Mapping[DiskDefinition, str]) -> None:
        """Remove the bitmaps that tell what was written to these disks since any generation but the one kept.

        While a moment is open, or QEMU does not run, all stay: the next time is soon enough.

        Raises:
            Unavailable: QEMU does not answer.
        """
        places = self._switch.places(definition)
        with self._registry.held(definition.id), noting(places.live) as note, find(places.pidfile) as process:
            if note is None or process is None:
                return
            with self._talking(definition, places) as (monitor, _):
                nodes = disk_nodes(monitor, [definition.boot_first.index(disk) for disk in kept])
                for node, generation in zip(nodes.values(), kept.values(), strict=True):
                    chain = chain_of(node)
                    current = chain.since(generation) or ()
                    every = (*chain.useless, *chain.names)
                    bitmaps.remove(monitor, chain.node, [name for name in every if name not in current])

    # ------------------------------------------------------------------ beginning

    def _begin(
        self, definition: ServerDefinition, places: Places, note: Note, disks: Sequence[DiskDefinition]
    ) -> "_Begun":
        """Let QEMU keep and serve what the disks hold at one moment."""
        with self._registry.held(definition.id), self._talking(definition, places) as (monitor, pid):
            note.write(self._undo(monitor, places, note, pid) or LeftOver(pid))
            numbers = [definition.boot_first.index(disk) for disk in disks]
            for number, disk in zip(numbers, disks, strict=True):
                _require_same(monitor, number, disk)
            chains = {n: chain_of(node) for n, node in disk_nodes(monitor, numbers).items()}
            for chain in chains.values():
                bitmaps.remove(monitor, chain.node, chain.useless)
            way = self._way(monitor)
            with self._scratch_files(definition.id, way, chains) as chosen:
                way.prepare(monitor, chosen)
            for disk in disks:
                _write_back(disk.path)
            parts = [part for chain in chains.values() for part in chain.beginning()]
            beginning = bitmaps.transaction([*parts, *way.parts(chosen)])
            with at_rest(definition.id, places.agent, monitor, note, self._freeze_limit) as consistency:
                note.change(paused=True)
                at, pause = _at_once(monitor, [beginning, *way.commands(chosen)])
                note.change(paused=False)
            serve(monitor, way, chosen, places.exports, {n: chain.names for n, chain in chains.items()})
        return _Begun(at, pause, consistency, chains)

    def _way(self, monitor: Monitor) -> Way:
        version = monitor.ask("query-version")["qemu"]
        filters = self._filters and (version["major"], version["minor"]) >= (7, 1)
        return Filters() if filters else Fleecing()

    @contextmanager
    def _scratch_files(self, server_id: ServerId, way: Way, chains: Mapping[int, Chain]) -> Iterator[list[Disk]]:
        """Give the disks with files for what is overwritten; they lose their names once QEMU has opened them.

        So the kernel frees their space with QEMU's last descriptor, whoever has been killed by then.
        """
        stem = self._scratch / _scratch_stem(server_id)
        disks = [Disk(number, chain.size, Path(f"{stem}-{number}")) for number, chain in chains.items()]
        try:
            self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            for disk in disks:
                _make_scratch_file(disk, way.space(disk.size))
            yield disks
        finally:
            for disk in disks:
                disk.scratch.unlink(missing_ok=True)

    # ------------------------------------------------------------------ ending

    def _end(
        self, definition: ServerDefinition, places: Places, note: Note, unwanted: Mapping[int, Chain] | None = None
    ) -> None:
        """*unwanted*: the bitmaps of a moment that surely becomes no backup."""
        with self._registry.held(definition.id):
            self._undo_all(definition, places, note, unwanted or {})

    def _undo_all(
        self, definition: ServerDefinition, places: Places, note: Note, unwanted: Mapping[int, Chain]
    ) -> None:
        """Undo all that is in QEMU; nothing is if it has ended.  Raises Unavailable."""
        left = None
        with find(places.pidfile) as process:
            if process is not None:
                try:
                    with self._talking(definition, places) as (monitor, pid):
                        left = self._undo(monitor, places, note, pid)
                        if parts := [part for chain in unwanted.values() for part in chain.taking_back()]:
                            monitor.say(bitmaps.transaction(parts))
                except Unavailable:
                    if not process.ended_within(timedelta(seconds=1)):
                        raise
        for path in self._scratch.glob(f"{_scratch_stem(definition.id)}-*"):  # killed before they lost their names
            path.unlink(missing_ok=True)
        note.write(left)

    def _undo(self, monitor: Monitor, places: Places, note: Note, pid: int) -> LeftOver | None:
        """Undo what is noted, and what is found; return what could not be undone: then the agent does not answer."""
        left = note.read() or LeftOver(pid)
        ours = left.pid == pid
        if ours and left.paused:
            monitor.ask("cont")
            note.change(paused=False)
        take_out(monitor)
        return LeftOver(pid, frozen=True) if ours and left.frozen and not thawed(places.agent) else None

    @contextmanager
    def _talking(self, definition: ServerDefinition, places: Places) -> Iterator[tuple[Monitor, int]]:
        """Talk to the server's QEMU; its refusals and its silence become Unavailable."""
        try:
            with find(places.pidfile) as process, talking(places.socket, definition.id, self._answer_limit) as monitor:
                if process is None:
                    raise NoAnswer("it has ended")
                yield monitor, process.pid
        except NoAnswer as error:
            raise Unavailable(f"server {definition.id} cannot be backed up while it runs: {error}") from error


@dataclass(frozen=True, slots=True)
class _Begun:
    """A moment that QEMU keeps and serves."""

    at: datetime
    pause: timedelta
    consistency: Consistency
    chains: Mapping[int, Chain]  # by the disks' numbers


@contextmanager
def _source(
    definition: ServerDefinition, disk: DiskDefinition, places: Places, chains: Mapping[int, Chain]
) -> Iterator[LiveSource]:
    number = definition.boot_first.index(disk)

    def connect(bitmap: str) -> AbstractContextManager[NbdClient]:
        return _connected(definition, disk, places, export_of(number), bitmap)

    with connect("") as client:
        yield LiveSource(definition.id, disk.id, client, places.pidfile, chains[number], connect)


@contextmanager
def _connected(
    definition: ServerDefinition, disk: DiskDefinition, places: Places, export: str, bitmap: str
) -> Iterator[NbdClient]:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(places.exports))
    except OSError as error:
        sock.close()
        raise Unavailable(f"server {definition.id} does not serve its disks: {error.strerror}") from error
    with closing(NbdClient(sock, f"disk {disk.id}", export=export, bitmap=bitmap)) as client:
        yield client


def _at_once(monitor: Monitor, commands: Sequence[Command]) -> tuple[datetime, timedelta]:
    """Do these between two instructions of the guest; return when, and how long it stood still.

    QEMU has all of them before it begins, so that nobody's death between them leaves the guest paused.

    Raises:
        NoAnswer: one of them was not done.
    """
    runs = monitor.ask("query-status")["status"] == "running"
    monitor.events()
    before = datetime.now(UTC)
    wrapped: list[Command] = [("stop", {}), *commands, ("cont", {})] if runs else list(commands)
    for found in monitor.burst(wrapped):
        if isinstance(found, Refused):
            raise found
    told = {event["event"]: _time_of(event) for event in monitor.events()}
    stood, went = told.get("STOP", before), told.get("RESUME", datetime.now(UTC))
    return stood, went - stood if runs else timedelta()


def _time_of(event: Mapping[str, Any]) -> datetime:
    stamp = event["timestamp"]
    return datetime.fromtimestamp(stamp["seconds"], UTC) + timedelta(microseconds=stamp["microseconds"])


def _require_same(monitor: Monitor, number: int, disk: DiskDefinition) -> None:
    """Raise Unavailable if QEMU's disk of that number is another one than the definition says, or is gone."""
    device = f"device{number}"
    if device not in devices_in(monitor):
        raise Unavailable(f"disk {disk.id} is not plugged into the running server any more: its guest has ejected it, "
                          "and has it again when the server was stopped and started")
    found = monitor.ask("qom-get", path=f"{DEVICES}/{device}/virtio-backend", property="serial")
    if found != disk.id[:20]:
        raise Unavailable(f"disk {disk.id} is none of the running server's: it has {found} in its place")


def _scratch_stem(server_id: ServerId) -> str:
    return f"live-{canonical_id(server_id)}"


def _make_scratch_file(disk: Disk, reserved: int) -> None:
    """Raises Unavailable."""
    disk.scratch.unlink(missing_ok=True)
    try:
        fd = os.open(disk.scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            if reserved:
                os.posix_fallocate(fd, 0, reserved)
            else:
                file.truncate(disk.size)
    except OSError as error:
        space = os.statvfs(disk.scratch.parent)
        raise Unavailable(f"scratch file of {reserved or disk.size} bytes cannot be made in {disk.scratch.parent}, "
                          f"which has {space.f_bavail * space.f_frsize} bytes free: {error.strerror}") from error


def _write_back(path: Path) -> None:
    """Bring what the guest has written to stable storage: QEMU does that while the guest stands still, too."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
