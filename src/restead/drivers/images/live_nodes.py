"""What a live backup has QEMU serve, and how all of it is taken out again, whatever way it was put in."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restead.drivers.disks.bitmap_rules import PREFIX
from restead.drivers.images.filters import drop_filters
from restead.drivers.images.fleecing import end_jobs
from restead.drivers.images.live_disk import Disk, Way, export_of
from restead.drivers.images.qmp import Monitor, NoAnswer, Refused

_PATIENCE = 30.0  # seconds for an export to go that was told to


def disk_nodes(monitor: Monitor, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what QEMU says of each of these disks.  Raises NoAnswer."""
    nodes = {node["node-name"]: node for node in monitor.ask("query-named-block-nodes", flat=True)}
    return {number: nodes[f"disk{number}"] for number in numbers}


def serve(
    monitor: Monitor, way: Way, disks: Sequence[Disk], socket: Path, bitmaps: Mapping[int, Sequence[str]]
) -> None:
    """Serve what the disks held, and those bitmaps of each (by its number), to whoever connects to *socket*."""
    monitor.ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})
    for disk in disks:
        monitor.ask("block-export-add", type="nbd", id=export_of(disk.number), name=export_of(disk.number),
                    node_name=way.node(monitor, disk), writable=False,
                    bitmaps=[{"node": disk.node, "name": name} for name in bitmaps[disk.number]])  # fmt: skip


def take_out(monitor: Monitor) -> None:
    """Take out of QEMU all that a live backup has put in but its bitmaps.

    Repeatable, and right for whatever part of it is there.  Raises NoAnswer.
    """
    exports = _exports(monitor)
    for id in exports:
        monitor.ask("block-export-del", id=id, mode="hard")
    _await_gone(monitor, exports)
    try:
        monitor.ask("nbd-server-stop")
    except Refused:  # it does not serve
        pass
    end_jobs(monitor)
    nodes = [node["node-name"] for node in monitor.ask("query-named-block-nodes", flat=True)]
    _delete(monitor, nodes, "access")
    drop_filters(monitor, nodes)
    _delete(monitor, nodes, "scratch")
    _delete(monitor, nodes, "file")


def _delete(monitor: Monitor, nodes: Sequence[str], kind: str) -> None:
    for name in nodes:
        if name.startswith(f"{PREFIX}{kind}"):
            monitor.ask("blockdev-del", node_name=name)


def _exports(monitor: Monitor) -> list[str]:
    return [one["id"] for one in monitor.ask("query-block-exports") if one["id"].startswith(PREFIX)]


def _await_gone(monitor: Monitor, exports: Sequence[str]) -> None:
    until = time.monotonic() + _PATIENCE
    while left := [id for id in _exports(monitor) if id in exports]:
        if time.monotonic() > until:
            raise NoAnswer(f"exports {', '.join(left)} did not go within {_PATIENCE:g} s")
        time.sleep(0.002)
