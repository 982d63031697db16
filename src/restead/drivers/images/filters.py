"""Since QEMU 7.1: for each disk a filter that saves what the guest is about to overwrite.

    guest's device ── filter ── disk            copy-before-write: before a write, what stood there goes to the scratch
                        │  └─── scratch         file, so that
                      access ── export          everything behind the export stays as it was at one moment

The guest runs with or without it; if the scratch file is full or slow, the filter gives the moment up, not the write.
"""

from collections.abc import Mapping, Sequence

from restead.drivers.disks.bitmap_rules import PREFIX
from restead.drivers.images.live_disk import DEVICES, Disk, devices_in
from restead.drivers.images.qmp import Command, Monitor

_LIMIT = 30  # seconds that a write of the guest may wait for the scratch file; then the moment is given up


class Filters:
    """Implements `Way`."""

    def space(self, size: int) -> int:  # noqa: ARG002 - a full scratch file harms nobody but the backup
        return 0

    def prepare(self, monitor: Monitor, disks: Sequence[Disk]) -> None:
        """Put the filters over the disks, with nobody writing through them yet."""
        for disk in disks:
            file = {"driver": "file", "filename": str(disk.scratch), "discard": "unmap"}
            monitor.say(("blockdev-add", {
                "driver": "raw", "node-name": disk.scratch_node, "discard": "unmap", "file": file,
            }))  # fmt: skip
            monitor.say(("blockdev-add", {
                "driver": "copy-before-write", "node-name": _filter(disk), "file": disk.node,
                "target": disk.scratch_node, "on-cbw-error": "break-snapshot", "cbw-timeout": _LIMIT,
            }))  # fmt: skip

    def parts(self, disks: Sequence[Disk]) -> list[Mapping[str, object]]:  # noqa: ARG002
        return []

    def commands(self, disks: Sequence[Disk]) -> list[Command]:
        """Let the guest write through the filters: from the first write on they save."""
        return [_drive(disk.number, _filter(disk)) for disk in disks]

    def node(self, monitor: Monitor, disk: Disk) -> str:
        access = f"{PREFIX}access{disk.number}"
        monitor.ask("blockdev-add", driver="snapshot-access", node_name=access, file=_filter(disk))
        return access


def drop_filters(monitor: Monitor, nodes: Sequence[str]) -> None:
    """Let guests write to their disks again, and delete the filters among these nodes.  Raises NoAnswer."""
    devices = devices_in(monitor)  # a guest can eject one at any time
    for name in nodes:
        if name.startswith(f"{PREFIX}filter"):
            number = int(name.removeprefix(f"{PREFIX}filter"))
            device = f"device{number}"
            if device in devices and monitor.ask("qom-get", path=f"{DEVICES}/{device}", property="drive") == name:
                monitor.say(_drive(number, f"disk{number}"))
            monitor.ask("blockdev-del", node_name=name)


def _filter(disk: Disk) -> str:
    return f"{PREFIX}filter{disk.number}"


def _drive(number: int, node: str) -> Command:
    return "qom-set", {"path": f"{DEVICES}/device{number}", "property": "drive", "value": node}
