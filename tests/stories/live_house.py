"""The whole house in one process over real machines: images on a disk, and a QEMU for each server that runs."""

import os
import signal
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from tests.drivers.image_files import bytes_of
from tests.drivers.images.cloud import ImagesCloud
from tests.house import PROJECT, House
from tests.lab.microguest import MIB, MODE_AT, SECTOR, SEQUENCE_AT, Report, await_report, boot, make_data_disk, set_mode

from restead.domain.backup import Backup
from restead.domain.server import Server
from restead.drivers.images import Power
from restead.drivers.images.qmp import talking
from restead.records import events

SIZES = (4 * MIB, 8 * MIB)


class LiveHouse(House):
    """A house whose servers are QEMU's.  `close` ends them."""

    def __init__(
        self, folder: Path, *, format: str = "raw", devices: bool = False, chunk_size: int = 4096
    ) -> None:
        """*devices*: the disks are block devices."""
        self._devices = devices
        self._left = ExitStack()
        runtime = self._left.enter_context(tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp"))
        disks = self._left.enter_context(tempfile.TemporaryDirectory(prefix="restead-test-", dir="/var/tmp"))
        self.runtime, self.format = Path(runtime), format
        self.machines = self._cloud_in(Path(disks))
        self.driver = self.machines.driver
        super().__init__(folder, cloud=cast(Any, self.driver), chunk_size=chunk_size)

    def _cloud_in(self, folder: Path) -> Any:
        return ImagesCloud(folder, self.runtime, Power.QEMU, format=self.format, devices=self._devices)

    def close(self) -> None:
        super().close()
        self.machines.close()
        self._left.close()

    def machine(self, mode: str = "W", name: str = "web-1") -> Server:
        """Make a stopped server whose guest idles (H) or writes a number to both disks in turn (W)."""
        server = self.machines.make(SIZES, name, PROJECT, boots=True)
        raw = self.machines.folder / "fill.raw"
        make_data_disk(raw, SIZES[1])
        self._write(server, 0, MODE_AT, mode.encode())
        self._write(server, 1, SIZES[1] // 8, raw.read_bytes()[SIZES[1] // 8 :][: SIZES[1] // 4])
        raw.unlink()
        return server

    def start_machine(self, server: Server) -> None:
        boots = (Report.last_of(self.serial(server)) or Report("", 0, None, ready=False)).boots
        self.driver.start(PROJECT, server.id)
        await_report(self.serial_log(server), lambda report: report.ready and report.boots > boots, limit=120)

    def stop_machine(self, server: Server) -> None:
        self.machines.servers.stop(PROJECT, server.id, grace=timedelta(seconds=60))

    def kill_machine(self, server: Server) -> None:
        os.kill(int((self.machines.folder / f"data/servers/{server.id}.pid").read_text()), signal.SIGKILL)

    def serial_log(self, server: Server) -> Path:
        return Path(self.driver.serial_log(server.id))

    def serial(self, server: Server) -> str:
        log = self.serial_log(server)
        return log.read_text(errors="replace") if log.exists() else ""

    def as_the_guest_does(self, server: Server, number: int, command: str) -> None:
        """Have QEMU do something to a disk by way of the guest's own device, in the words of qemu-io."""
        device = f"/machine/peripheral/device{number}/virtio-backend"
        with self.talking(server) as monitor:
            said = monitor.ask("human-monitor-command", command_line=f'qemu-io -d {device} "{command}"')
        assert "rror" not in said, said

    def talking(self, server: Server) -> Any:
        return talking(next(iter(self.sockets(server))), server.id, 30)

    def sockets(self, server: Server) -> list[Path]:
        definition = self.driver.definition(server.id)
        return [self.driver._qemu.places(definition).socket]

    def left_in(self, server: Server) -> list[str]:
        """Return what backups that came to nothing have left in a running server."""
        return [name for each in self.bitmaps(server) for name in each]

    def bitmaps(self, server: Server) -> list[list[str]]:
        """Return the names of the bitmaps of each disk of a running server."""
        with self.talking(server) as monitor:
            nodes = {node["node-name"]: node for node in monitor.ask("query-named-block-nodes", flat=True)}
        found = [nodes[f"disk{number}"].get("dirty-bitmaps", []) for number in range(len(server.volumes))]
        return [sorted(bitmap["name"] for bitmap in each) for each in found]

    def held(self, server: Server) -> list[bytes]:
        """Return what a machine would see on the disks of a stopped server."""
        return [bytes_of(Path(volume.location), self.format) for volume in server.volumes]

    def read_by(self, backup: Backup) -> int:
        return sum(volume.read for volume in backup.volumes)

    def brought_back(self, backup: Backup, spare: Server) -> list[bytes]:
        """Restore a backup onto another server; return what that one's disks hold then."""
        restored = self.restore(backup, spare)
        assert restored.state.value == "success", restored.failure
        return self.held(spare)

    def boots(self, disks: list[bytes]) -> Report | None:
        """Boot disks that hold this, without restead; return what the guest reports."""
        paths = [self.machines.folder / f"boots-{number}" for number in range(len(disks))]
        for path, data in zip(paths, disks, strict=True):
            path.write_bytes(data)
        set_mode(paths[0], "R")
        return boot(*paths, limit=120)

    def told(self, backup: Backup, kind: str) -> list[dict[str, object]]:
        with self.records.read() as tx:
            return [dict(event.numbers) for event in events.story(tx, backup.run_id) if event.kind.value == kind]

    def _write(self, server: Server, number: int, offset: int, data: bytes) -> None:
        with self.driver.open_target(PROJECT, server.id, server.volumes[number].id) as target:
            target.write_at(offset, data)
            target.flush()


def numbers(disks: list[bytes]) -> tuple[int, int, int]:
    """Return what the guest has written: how often it booted, and its numbers on the system disk and the data disk."""
    system, data = disks
    places = ((system, 9 * SECTOR), (system, SEQUENCE_AT), (data, SEQUENCE_AT))
    boots, last, next_ = (int.from_bytes(disk[at : at + 4], "little") for disk, at in places)
    return boots, last, next_


def is_a_moment(disks: list[bytes]) -> bool:
    _, system, data = numbers(disks)
    return system <= data <= system + 1
