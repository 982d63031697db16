"""Before QEMU 7.1: for each disk a backup job that saves what the guest overwrites.

    guest's device ── disk ◀── backing ── scratch image ── export        the job copies into it before each write

If the scratch image finds no space, such a job fails the guest's write, not the moment: so all the space that it can
ever need is reserved before it begins.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from restead.drivers.disks.bitmap_rules import PREFIX
from restead.drivers.images.live_disk import Disk
from restead.drivers.images.qmp import Command, Monitor, NoAnswer

_PATIENCE = 60.0  # seconds for a job to come to its end
_CLUSTER = 64 << 10  # bytes: what a qcow2 image is allocated in
_PER_CLUSTER = 16  # bytes: 8 in its tables, 2 in its counts of references, and their own rounding
_TABLES = 2 << 20  # bytes: its header, its first tables


class Fleecing:
    """Implements `Way`."""

    def space(self, size: int) -> int:
        return -(-size // _CLUSTER) * (_CLUSTER + _PER_CLUSTER) + _TABLES

    def prepare(self, monitor: Monitor, disks: Sequence[Disk]) -> None:
        """Make an empty scratch image over each disk."""
        for disk in disks:
            file, job = f"{PREFIX}file{disk.number}", f"{PREFIX}create{disk.number}"
            monitor.say(("blockdev-add", {"driver": "file", "node-name": file, "filename": str(disk.scratch)}))
            image = {"driver": "qcow2", "file": file, "size": disk.size}
            monitor.say(("blockdev-create", {"job-id": job, "options": image}))
            _await_created(monitor, job)
            node = {"driver": "qcow2", "node-name": disk.scratch_node, "file": file, "backing": disk.node}
            monitor.say(("blockdev-add", node))

    def parts(self, disks: Sequence[Disk]) -> list[Mapping[str, object]]:
        """Begin to save."""
        return [
            {"type": "blockdev-backup", "data": {
                "job-id": f"{PREFIX}job{disk.number}", "device": disk.node, "target": disk.scratch_node, "sync": "none",
            }}
            for disk in disks
        ]  # fmt: skip

    def commands(self, disks: Sequence[Disk]) -> list[Command]:  # noqa: ARG002
        return []

    def node(self, monitor: Monitor, disk: Disk) -> str:  # noqa: ARG002
        return disk.scratch_node


def end_jobs(monitor: Monitor) -> None:
    """Let no job of ours run any more.  Raises NoAnswer."""
    until, told = time.monotonic() + _PATIENCE, set[str]()
    while jobs := _jobs(monitor):
        for id, job in jobs.items():
            if job["status"] == "concluded":
                monitor.ask("job-dismiss", id=id)
            elif id not in told:
                told.add(id)
                monitor.ask("job-cancel", id=id)
        if time.monotonic() > until:
            raise NoAnswer(f"jobs {', '.join(jobs)} did not end within {_PATIENCE:g} s")
        time.sleep(0.002)


def _await_created(monitor: Monitor, id: str) -> None:
    until = time.monotonic() + _PATIENCE
    while (job := _jobs(monitor)[id])["status"] != "concluded":
        if time.monotonic() > until:
            raise NoAnswer(f"a scratch image was not made within {_PATIENCE:g} s")
        time.sleep(0.002)
    monitor.ask("job-dismiss", id=id)
    if "error" in job:
        raise NoAnswer(f"a scratch image was not made: {job['error']}")


def _jobs(monitor: Monitor) -> dict[str, dict[str, Any]]:
    return {job["id"]: job for job in monitor.ask("query-jobs") if job["id"].startswith(PREFIX)}
