"""What `benchmarks.live` measures: a guest with disks, run by the driver, and a repository that it is backed up into.

The guest is the lab's, of 2 KiB: in mode W it writes a number to its second disk, then to its first, over and over.
The third disk, which is large, it leaves alone.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from tests.lab.microguest import MODE_AT, SEQUENCE_AT, Report, await_report, make_data_disk, make_system_disk

from benchmarks.disks import MIB
from benchmarks.measure import begin, so_far
from benchmarks.restead_step import PROJECT
from restead.domain.ids import ManifestId, VolumeId
from restead.drivers.blobs import LocalBlobs
from restead.drivers.images import DiskDefinition, ImagesDriver, Power, ServerDefinition
from restead.drivers.images.qmp import Monitor, talking
from restead.ports import BlockSource, Moment, PausesGuest, TracksChanges
from restead.repository import DiskDescription, Hint, KeyFile, Repository
from restead.repository.progress import Count
from restead.workflows.nicely import nicely

LARGE = 2  # the number of the large disk
PIECE = 64 << 10  # bytes that a dirty bitmap notes as one
_UNIT = 2 * MIB  # what a backup reads at once
_THREADS = 3  # as many as read in a backup
_LIMIT = 300.0  # seconds for an answer on a busy machine


@dataclass(frozen=True, slots=True)
class Spent:
    """What was done and used in a while."""

    seconds: float
    writes: int  # that the guest counted
    cpu: float  # seconds, of this process
    qemu: float  # seconds, of QEMU


class Guest:
    """A server with a QEMU process of its own in *runtime*, a folder with a short path."""

    def __init__(self, driver: ImagesDriver, folder: Path, runtime: Path, format: str, large: Path) -> None:
        """*large*: a raw disk, which becomes the server's."""
        self.driver = driver
        self._runtime = runtime
        folder.mkdir()
        paths = [folder / "system.raw", folder / "data.raw", folder / "large.raw"]
        make_system_disk(paths[0], "benchmark", "W")
        make_data_disk(paths[1])
        large.rename(paths[2])
        if format == "qcow2":
            paths = [_to_qcow2(path) for path in paths]
        disks = tuple(DiskDefinition(path, format=format, boot=not number) for number, path in enumerate(paths))
        self.definition = driver.add(ServerDefinition("guest", PROJECT, disks, power=Power.QEMU, memory=16))
        self.volumes = [disk.id for disk in self.definition.boot_first]
        self._pidfile = driver.serial_log(self.definition.id).with_name(f"{self.definition.id}.pid")
        self._counter = paths[0], _host_offset(paths[0], format) + SEQUENCE_AT
        self.size = driver.server(PROJECT, self.definition.id).volumes[LARGE].size  # bytes of the large disk

    def start(self, mode: str) -> None:
        """Let it run in that mode; its report is there when this returns."""
        with self.driver.open_target(PROJECT, self.definition.id, self.volumes[0]) as target:
            target.write_at(MODE_AT, mode.encode())
            target.flush()
        log = self.driver.serial_log(self.definition.id)
        last = Report.last_of(log.read_text(errors="replace")) if log.exists() else None
        boots = last.boots if last else 0
        self.driver.start(PROJECT, self.definition.id)
        await_report(log, lambda report: report.ready and report.boots > boots, limit=_LIMIT)

    def stop(self) -> None:
        self.driver.stop(PROJECT, self.definition.id, grace=timedelta(seconds=60))

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """Open its disks as a backup does; when it is over, bitmaps of earlier moments are removed."""
        with self.driver.open_moment(PROJECT, self.definition.id, self.volumes) as moment:
            kept = {volume: _generation(source) for volume, source in moment.sources.items()}
            yield moment
        if isinstance(moment, PausesGuest):
            self.driver.retire(PROJECT, self.definition.id, kept)

    def during(self, work: Callable[[], object]) -> Spent:
        """Do that while the guest runs; return what was spent."""
        pid = int(self._pidfile.read_text())
        before, own, writes, at = begin(pid), time.process_time(), self._writes(), time.monotonic()
        work()
        seconds, writes = time.monotonic() - at, self._writes() - writes
        return Spent(seconds, writes, time.process_time() - own, so_far(pid, before, seconds).cpu)

    def bare_pause(self) -> timedelta:
        """Stop the guest and let it go on, and do nothing between; return how long it stood still."""
        with self._talking() as monitor:
            monitor.events()
            monitor.burst([("stop", {}), ("cont", {})])
            stamps = {event["event"]: event["timestamp"] for event in monitor.events()}
        stood, went = (
            stamps[name]["seconds"] * 1_000_000 + stamps[name]["microseconds"] for name in ("STOP", "RESUME")
        )
        return timedelta(microseconds=went - stood)

    def write(self, offsets: Sequence[int], length: int, source: Path) -> float:
        """Have QEMU write bytes of *source* to the large disk, as the guest's own device does; return the seconds.

        One write after the other; QEMU has been told all of them before it begins.
        """
        device = f"/machine/peripheral/device{LARGE}/virtio-backend"
        lines = [f'qemu-io -d {device} "write -s {source} {offset} {length}"' for offset in offsets]
        commands = [("human-monitor-command", {"command-line": line}) for line in lines]
        with self._talking() as monitor:
            before = time.monotonic()
            said = monitor.burst(commands)
            seconds = time.monotonic() - before
        if refused := [each for each in said if not isinstance(each, str) or "rror" in each]:
            raise RuntimeError(f"QEMU did not write: {refused[0]}")
        return seconds

    @contextmanager
    def _talking(self) -> Iterator[Monitor]:
        (socket,) = self._runtime.glob("*.qmp")
        with talking(socket, self.definition.id, _LIMIT) as monitor:
            yield monitor

    def _writes(self) -> int:
        path, offset = self._counter
        with path.open("rb") as file:
            file.seek(offset)
            return 2 * int.from_bytes(file.read(4), "little")  # each number is written to both disks


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup of a guest did."""

    told: int | None  # bytes of the large disk that were said to be changed; None: nothing was believed
    large: Count


class Keeper:
    """A repository in a new folder, and what it knows of one guest.  Backups go as in the service."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        store, key = LocalBlobs(folder / "repository"), KeyFile.create(folder / "key")
        Repository.create(store, key)
        self._repository = Repository.open(store, key, cache=folder / "cache", scratch=folder)
        self._last: dict[VolumeId, tuple[ManifestId, str]] = {}

    def back_up(self, guest: Guest, *, believe: bool = True, nice: int = 0) -> Backup:
        """*believe*: what the disks' bitmaps say counts; else everything is read.  *nice*: as `backup_nice`."""
        parents = [manifest for manifest, _ in self._last.values()]
        with self._repository.session(PROJECT, label="benchmark", reads=parents) as session:
            with guest.moment() as moment:
                sources = [moment.sources[volume] for volume in guest.volumes]
                generations = [_generation(source) for source in sources]
                saved, told = [], None
                for volume, source in zip(guest.volumes, sources, strict=True):
                    parent, _ = self._last.get(volume, (None, ""))
                    hint = self._hint(volume, source) if believe else None
                    if volume == guest.volumes[LARGE]:
                        told = sum(length for _, length in hint.changed) if hint else None
                    description = DiskDescription("disk", moment.taken_at, moment.consistency)
                    save = partial(session.save, source, parent=parent, hint=hint, description=description)
                    saved.append(nicely(nice, save))
            made = session.commit(saved)
        self._last = dict(zip(guest.volumes, zip(made, generations, strict=True), strict=True))
        return Backup(told, saved[LARGE].count)

    def contents(self, volume: VolumeId) -> bytes:
        """Return what names all bytes of the newest backup of that disk."""
        return self._repository.manifest(self._last[volume][0]).root.top

    def _hint(self, volume: VolumeId, source: BlockSource) -> Hint | None:
        manifest, generation = self._last.get(volume, (None, ""))
        if manifest is None or not generation or not isinstance(source, TracksChanges):
            return None
        changed = source.changed_since(generation)
        return None if changed is None else Hint(manifest, changed, guaranteed=True)


def read_all(source: BlockSource) -> int:
    """Read all of a disk that is no hole, as a backup does; return the bytes."""
    pieces = iter([
        (at, min(_UNIT, one.offset + one.length - at))
        for one in source.extents(0, source.size) if one.data
        for at in range(one.offset, one.offset + one.length, _UNIT)
    ])  # fmt: skip
    read: list[int] = []

    def work() -> None:
        buffer = memoryview(bytearray(_UNIT))
        for at, length in pieces:
            source.read_into(at, buffer[:length])
            read.append(length)

    threads = [Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(read)


def _generation(source: BlockSource) -> str:
    return source.generation() if isinstance(source, TracksChanges) else ""


def _to_qcow2(raw: Path) -> Path:
    path = raw.with_suffix(".qcow2")
    words = ["-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(raw), str(path)]
    subprocess.run(["qemu-img", "convert", *words], check=True)
    raw.unlink()
    return path


def _host_offset(path: Path, format: str) -> int:
    """Return where in the file the disk's first cluster is, which stays there."""
    words = ["qemu-img", "map", "-U", "--output=json", "-f", format, str(path)]
    found: list[dict[str, Any]] = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return int(found[0]["offset"])
