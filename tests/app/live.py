"""A server that runs in a service's care: the small guest, writing to its disks all the time, and what it shows."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.app.running import PROJECT, Place, Running
from tests.drivers.image_files import bytes_of, to_qcow2
from tests.lab.microguest import (
    MIB,
    SECTOR,
    SEQUENCE_AT,
    Report,
    boot,
    expected_data,
    make_data_disk,
    make_system_disk,
    set_mode,
)

from restead.domain.ids import new_id
from restead.drivers.images.qmp import talking


@dataclass(frozen=True)
class Content:
    """What the disks hold, as the guest's own program would say it."""

    boots: int
    system: int  # the number written last to the system disk
    data: int  # and to the data disk, a little before that
    summed: int  # CRC-32 of what the guest does not write on the data disk

    @property
    def is_a_moment(self) -> bool:
        return self.system <= self.data <= self.system + 1


class Guest:
    """A server of two disks whose guest writes a number to the data disk, then the same to the system disk, …"""

    def __init__(self, place: Place, name: str = "web-1", *, format: str = "raw", data: int = 8 * MIB) -> None:
        self.place = place
        self.name = name
        self.id = new_id()
        self.format = format
        paths = [place.folder / f"{name}-{what}.raw" for what in ("system", "data")]
        make_system_disk(paths[0], name, "W")
        make_data_disk(paths[1], data)
        self.summed = expected_data(paths[1])  # of what the guest does not write there
        self.disks = [to_qcow2(path) for path in paths] if format == "qcow2" else paths
        self.add()

    def add(self) -> None:
        """Make it a server."""
        self.place.restead(
            "server", "add", self.name, "--project", PROJECT, "--id", self.id, "--power", "qemu", "--memory", "16",
            "--disk", f"path={self.disks[0]},format={self.format},boot",
            "--disk", f"path={self.disks[1]},format={self.format}",
        )  # fmt: skip

    def start(self) -> None:
        self.place.restead("server", "start", self.name)
        wait(lambda: (found := Report.last_of(self.serial())) is not None and found.ready)

    def stop(self) -> None:
        self.place.restead("server", "stop", self.name)

    def serial(self) -> str:
        log = self.place.data / "servers" / f"{self.id}.serial.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def left(self) -> list[str]:
        """Return what of a live backup is in it, but for bitmaps; and its status if it does not run."""
        return left_in_qemu(self)

    def marks(self) -> list[str]:
        """Return what is kept in it to know what is written from now on, if that can be counted."""
        return []

    def pid(self) -> int:
        return int((self.place.data / "servers" / f"{self.id}.pid").read_text())

    def content(self) -> Content:
        """What its disks hold, while it is stopped."""
        return self.content_of(self.disks, self.format)

    @staticmethod
    def content_of(disks: list[Path], format: str = "raw") -> Content:
        system, data = (bytes_of(path, format) for path in disks)
        scratch = disks[1].with_suffix(".summed")
        scratch.write_bytes(data)
        try:
            return Content(_number(system, 9 * SECTOR), _number(system, SEQUENCE_AT), _number(data, SEQUENCE_AT),
                           expected_data(scratch))
        finally:
            scratch.unlink()

    def naive_copy(self) -> Content:
        """What the disks hold if they are copied while the guest runs, one after the other."""
        copies = [path.with_suffix(".naive") for path in self.disks]
        for path, copy in reversed(list(zip(self.disks, copies, strict=True))):
            shutil.copyfile(path, copy)
            time.sleep(0.5)
        return self.content_of(copies, self.format)

    def boots(self) -> Report | None:
        """Boot copies of its disks without restead; return what the guest reports."""
        copies = [path.with_suffix(".boots") for path in self.disks]
        for path, copy in zip(self.disks, copies, strict=True):
            copy.write_bytes(bytes_of(path, self.format))
        set_mode(copies[0], "R")
        return boot(*copies)


def _number(disk: bytes, at: int) -> int:
    return int.from_bytes(disk[at : at + 4], "little")


def wait(condition: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def protect(running: Running, guest: Guest) -> Any:
    """Back up a server; return the backup when it has ended."""
    return running.wait_for_backup(running.begin_backup(guest.id))


def left_in_qemu(guest: Guest) -> list[str]:
    """Return what of a live backup is in the guest's QEMU, but for bitmaps; and its status if it does not run."""
    runtime = Path(guest.place.environment["RESTEAD_RUNTIME"])
    stem = guest.place.data.resolve() / "servers" / guest.id
    name = hashlib.blake2b(os.fsencode(stem), digest_size=8).hexdigest()
    with talking(runtime / f"{name}.qmp", guest.id, 60) as monitor:
        names = [node["node-name"] for node in monitor.ask("query-named-block-nodes", flat=True)]
        names += [one["id"] for one in monitor.ask("query-block-exports")]
        status = monitor.ask("query-status")["status"]
    return [name for name in names if name.startswith("restead-")] + ([] if status == "running" else [status])
