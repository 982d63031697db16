"""What a live backup puts into a running QEMU: for each disk a filter that saves what the guest is about to overwrite.

    guest's device ── filter ── disk            copy-before-write: before a write, what stood there goes to the scratch
                        │  └─── scratch         file, so that
                      access ── export          everything behind the export stays as it was at one moment

All names begin with `restead-`, so that whoever comes later finds what a killed service has left, and takes it out.
The guest runs with or without it; if the scratch file is full or slow, the filter gives the moment up, not the write.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restead.drivers.images.qmp import Command, Monitor, NoAnswer, Refused

PREFIX = "restead-"
_DEVICES = "/machine/peripheral"
_PATIENCE = 30.0  # seconds for something to go that was told to
_CBW_LIMIT = 30  # seconds that a write of the guest may wait for the scratch file; then the moment is given up


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a running guest that is to be filtered."""

    number: int  # in the order of the command line
    scratch: Path  # an empty file of the disk's size

    @property
    def node(self) -> str:
        return f"disk{self.number}"

    @property
    def filter(self) -> str:
        return f"{PREFIX}filter{self.number}"

    @property
    def export(self) -> str:
        return f"{PREFIX}{self.number}"


def disk_nodes(monitor: Monitor, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what QEMU says of each of these disks.  Raises NoAnswer."""
    nodes = {node["node-name"]: node for node in monitor.ask("query-named-block-nodes", flat=True)}
    return {number: nodes[f"disk{number}"] for number in numbers}


def prepare(monitor: Monitor, disks: Sequence[Disk]) -> None:
    """Put the filters over the disks, with nobody writing through them yet.  Raises NoAnswer."""
    for disk in disks:
        file = {"driver": "file", "filename": str(disk.scratch), "discard": "unmap"}
        scratch = f"{PREFIX}scratch{disk.number}"
        monitor.say(("blockdev-add", {
            "driver": "raw", "node-name": scratch, "discard": "unmap", "file": file,
        }))  # fmt: skip
        monitor.say(("blockdev-add", {
            "driver": "copy-before-write", "node-name": disk.filter, "file": disk.node, "target": scratch,
            "on-cbw-error": "break-snapshot", "cbw-timeout": _CBW_LIMIT,
        }))  # fmt: skip


def swap_in(disks: Sequence[Disk]) -> list[Command]:
    """Return the commands that let the guest write through the filters: from the first write on they save."""
    return [_drive(disk.number, disk.filter) for disk in disks]


def export(monitor: Monitor, disks: Sequence[Disk], socket: Path, bitmaps: Mapping[int, Sequence[str]]) -> None:
    """Serve what the disks held, and those bitmaps of each (by its number), to whoever connects to *socket*."""
    monitor.ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})
    for disk in disks:
        access = f"{PREFIX}access{disk.number}"
        monitor.ask("blockdev-add", driver="snapshot-access", node_name=access, file=disk.filter)
        monitor.ask("block-export-add", type="nbd", id=disk.export, name=disk.export, node_name=access, writable=False,
                    bitmaps=[{"node": disk.node, "name": name} for name in bitmaps[disk.number]])


def take_out(monitor: Monitor) -> bool:
    """Take out of QEMU all that a live backup has put in but its bitmaps; tell whether there was anything.

    Repeatable, and right for whatever part of it is there.  Raises NoAnswer.
    """
    exports = [one["id"] for one in monitor.ask("query-block-exports") if one["id"].startswith(PREFIX)]
    nodes = _nodes(monitor)
    for id in exports:
        monitor.ask("block-export-del", id=id, mode="hard")
    _await(monitor, "query-block-exports", "id", exports)
    try:
        monitor.ask("nbd-server-stop")
    except Refused:  # it does not serve
        pass
    _delete(monitor, nodes, "access")
    _drop_filters(monitor, [name for name in nodes if name.startswith(f"{PREFIX}filter")])
    _delete(monitor, nodes, "scratch")
    return bool(exports or nodes)


def _drop_filters(monitor: Monitor, filters: Sequence[str]) -> None:
    for name in filters:
        number = int(name.removeprefix(f"{PREFIX}filter"))
        if monitor.ask("qom-get", path=f"{_DEVICES}/device{number}", property="drive") == name:
            monitor.say(_drive(number, f"disk{number}"))
        monitor.ask("blockdev-del", node_name=name)


def _drive(number: int, node: str) -> Command:
    return "qom-set", {"path": f"{_DEVICES}/device{number}", "property": "drive", "value": node}


def _delete(monitor: Monitor, nodes: Sequence[str], kind: str) -> None:
    for name in nodes:
        if name.startswith(f"{PREFIX}{kind}"):
            monitor.ask("blockdev-del", node_name=name)


def _nodes(monitor: Monitor) -> list[str]:
    names = [node["node-name"] for node in monitor.ask("query-named-block-nodes", flat=True)]
    return [name for name in names if name.startswith(PREFIX)]


def _await(monitor: Monitor, query: str, key: str, gone: Sequence[str]) -> None:
    """Return when none of these is listed any more."""
    until = time.monotonic() + _PATIENCE
    while left := [one[key] for one in _listed(monitor, query) if one[key] in gone]:
        if time.monotonic() > until:
            raise NoAnswer(f"{', '.join(left)} did not go within {_PATIENCE:g} s")
        time.sleep(0.002)


def _listed(monitor: Monitor, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = monitor.ask(query)
    return found
