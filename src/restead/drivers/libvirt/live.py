"""The disks of a running domain at one moment, while its guest goes on: `LiveMoments` opens them.

libvirt's backup API in pull mode: QEMU keeps what the guest overwrites in scratch images, and serves what the disks
held on a Unix socket.  What has to be ended is noted before it is begun; if we are killed, whoever opens the next
moment ends it, or `clean_up`.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from restead.domain.errors import Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.libvirt import checkpoints
from restead.drivers.libvirt.beginning import THAW_LIMIT, Beginning, Begun, job_of
from restead.drivers.libvirt.connection import library, translated
from restead.drivers.libvirt.freezing import thaw, thawed
from restead.drivers.libvirt.left_over import Note, noting
from restead.drivers.libvirt.live_source import LiveSource, MarkedSource
from restead.drivers.libvirt.machine import Machine, MachineDisk
from restead.drivers.libvirt.options import LibvirtOptions
from restead.drivers.nbd import NbdClient
from restead.ports import BlockSource, Consistency

_END_LIMIT = 60.0  # seconds in which a backup job ends that was told to


@dataclass(frozen=True, slots=True)
class LiveMoment:
    """The disks of a running domain as they were at *taken_at*."""

    taken_at: datetime
    sources: Mapping[VolumeId, BlockSource]
    consistency: Consistency
    pause: timedelta  # for which its file systems were frozen; without that, what the call took: at most that long


class LiveMoments:
    """Opens moments of running domains.

    *notes*: the folder for what has to be ended.  *scratch* and *sockets*: folders that QEMU can write to.
    """

    def __init__(self, notes: Path, scratch: Path, sockets: Path, options: LibvirtOptions) -> None:
        self._notes = notes
        self._folders = (scratch, sockets)
        self._options = options
        self._qemu_img = options.qemu_img

    @contextmanager
    def opened(
        self, domain: Any, machine: Machine, disks: Mapping[VolumeId, MachineDisk], sizes: Mapping[str, int]
    ) -> Iterator[LiveMoment]:
        """Open these disks of a running domain, all at one moment; *sizes*: by target.

        Raises:
            Unavailable: a disk is shared, another moment of the domain is open, libvirt does not do it, no space.
        """
        for disk in disks.values():
            if disk.shared:
                raise Unavailable(f"disk {disk.id} of server {machine.uuid} is shared with other servers, which may "
                                  "write to it: it is backed up while the server is stopped")
        with noting(self._note(machine)) as note:
            if note is None:
                raise Unavailable(f"server {machine.uuid} is being backed up already")
            self._end(domain, machine, note)
            try:
                job = Beginning(domain, machine, note, list(disks.values()), self._folders, self._options)
                begun = job.begin(sizes)
                with ExitStack() as connected:
                    sources = {
                        id: _source(domain, disk, job.socket, begun, connected) for id, disk in disks.items()
                    }
                    consistency = Consistency.FILESYSTEM if begun.frozen else Consistency.CRASH
                    yield LiveMoment(begun.at, sources, consistency, begun.pause)
            except BaseException:
                with suppress(Unavailable):  # it stays noted; whoever has an error already is not told of another
                    self._end(domain, machine, note)
                raise
            self._end(domain, machine, note, keep=True)

    def clean_up(self, domain: Any, machine: Machine) -> None:
        """End what a killed service has left of a live backup of this domain, unless somebody is at it.

        Raises:
            Unavailable: libvirt does not answer; it stays noted.
        """
        if not self._note(machine).exists():
            return
        with noting(self._note(machine)) as note:
            if note is not None:
                self._end(domain, machine, note)

    def retire(self, domain: Any, machine: Machine, kept: Mapping[str, str]) -> None:
        """Let our checkpoints be gone that mark no disks but these, and are none of their generations; by target.

        Raises:
            Unavailable: libvirt does not answer.
        """
        with noting(self._note(machine)) as note:
            if note is None or note.read() is not None:  # the next one to close does so
                return
            with translated(f"checkpoints of server {machine.uuid}"):
                names = {checkpoints.name_in(each) for each in kept.values()}
                there = checkpoints.ours(domain)
                gone = [each.name for each in there if each.name not in names and each.targets <= set(kept)]
                checkpoints.forget(domain, machine, gone, self._qemu_img)

    def forget_checkpoints(self, domain: Any, machine: Machine) -> None:
        """Let all our checkpoints be gone, since the disks are about to be written by somebody else than the guest."""
        with translated(f"checkpoints of server {machine.uuid}"):
            names = [each.name for each in checkpoints.ours(domain)]
            checkpoints.forget(domain, machine, names, self._qemu_img)

    # ------------------------------------------------------------------ ending

    def _end(self, domain: Any, machine: Machine, note: Note, *, keep: bool = False) -> None:
        """End what is noted; *keep* the checkpoint: somebody is about to build on it.  Raises Unavailable."""
        left = note.read()
        if left is None:
            return
        try:
            if left.frozen and not thawed(domain):
                thaw(domain, THAW_LIMIT)
        finally:  # a guest whose agent has become deaf is rid of the rest; it stays noted
            with translated(f"backup of server {machine.uuid} cannot be ended"):
                _abort(domain, left.socket)
                if left.checkpoint and not keep:
                    checkpoints.forget(domain, machine, [left.checkpoint], self._qemu_img)
            for path in (*left.scratch, left.socket):
                Path(path).unlink(missing_ok=True)
        note.write(None)

    def _note(self, machine: Machine) -> Path:
        return self._notes / f"libvirt-{machine.uuid}.note"


def _source(domain: Any, disk: MachineDisk, path: Path, begun: Begun, connected: ExitStack) -> LiveSource:
    name = f"disk {disk.id}"
    client = connected.enter_context(closing(NbdClient(_connect(path, name), name, export=disk.target)))
    if not begun.checkpoint or disk.format != "qcow2":
        return LiveSource(domain, client)
    known = {each.name for each in begun.known if disk.target in each.targets}
    marks = None
    if known:
        made = NbdClient(_connect(path, name), name, export=disk.target, bitmap=f"backup-{disk.target}")
        marks = connected.enter_context(closing(made))
    return MarkedSource(domain, client, begun.checkpoint, known, marks)


def _connect(path: Path, name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise Unavailable(f"{name} is not served: {error.strerror}", detail=str(path)) from error
    return sock


def _abort(domain: Any, path: str) -> None:
    """End our backup job, if it is there; let a guest go on that stands still because its scratch image failed."""
    libvirt = library()
    if not domain.isActive() or job_of(domain) != path:
        return
    domain.abortJob()
    until = time.monotonic() + _END_LIMIT
    while domain.isActive() and job_of(domain) == path:
        if time.monotonic() > until:
            raise Unavailable(f"backup job of server {domain.UUIDString()} does not end")
        time.sleep(0.02)
    if domain.isActive() and domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
        domain.resume()
