"""Following a restore to its end, for `restore` and `restores watch`."""

from collections.abc import Mapping
from datetime import datetime
from typing import NoReturn

from restead.cli import find
from restead.cli.client import Client, Json
from restead.cli.progress import Bar
from restead.cli.show import seconds, size
from restead.cli.waiting import restore_events, restore_states
from restead.cli.wiring import Exit, fail, say

PHASES = {
    "accepted": "accepted", "stopping": "stopping", "comparing": "comparing", "writing": "writing",
    "proving": "proving", "putting_back": "putting back", "starting": "starting",
}  # fmt: skip
"""Event → what people call that phase; other events happen within one."""


def follow(client: Client, restore: Json, title: str, *, as_json: bool) -> Json:
    """Show the restore's phases and progress, and return it as it ended."""
    try:
        with Bar(title, as_json=as_json) as bar:
            phase, percent = "", 0
            for event in restore_events(client, restore["id"]):
                phase = PHASES.get(event["kind"], phase)
                percent = event.get("percent", percent)
                bar.show(percent, phase=phase, rate=event.get("bytes_per_second", 0), left=event.get("seconds_left"))
            for restore in restore_states(client, restore["id"]):  # noqa: B020  the newest state is the restore
                bar.show(restore["progress"], phase=phase)
    except KeyboardInterrupt:
        _leave(restore["id"])
    return restore


def _leave(id: str) -> NoReturn:
    raise fail(f"the restore goes on; watch it with: restead restores watch {id}", Exit.INTERRUPTED) from None


def tell_end(client: Client, restore: Json) -> None:
    """Say how it went, with the numbers; say for each part that failed why."""
    stats = restore["stats"]
    if restore["status"] == "in_progress":
        say(f"the restore is under way; watch it with: restead restores watch {restore['id']}")
        return
    if restore["status"] == "success":
        say(
            f"restored: {size(stats['total'])} in all, {size(stats['written'])} written, "
            f"{size(stats['zeroed'])} zeroed, {size(stats['kept'])} right already, "
            f"{size(stats['verified'])} proven{_took(restore)}"
        )
        if lost_bytes(restore):
            lost = size(lost_bytes(restore))
            say(f"{lost} of the backup were lost in the repository and are ZEROES on the disks now:")
            _tell_ranges(restore, find.disks(client, restore)[1], "are zeroes, because the backup's are lost")
        if restore["safety_checkpoint_id"] and stats["written"] + stats["zeroed"]:
            say(f"what was overwritten is kept; bring it back with: restead restores undo {restore['id']}")
        return
    why = restore["fail_code"].get("Description", "see below")
    say(f"the restore failed: {why}")
    server, names = find.disks(client, restore)
    for part, reason in restore["resources_reason"].items():
        if reason != why:
            id = part.rpartition("#")[2]
            say(f"  {f'disk {names[id]}' if id in names else f'server {server}'}: {reason}")
    for volume in restore["volumes"]:
        say(f"  disk {names[volume['volume_id']]}: {volume['outcome']}")
    _tell_ranges(restore, names, "are not what they should be")


def lost_bytes(restore: Json) -> int:
    """Return how many bytes of a restore that succeeded are zeroes because they were lost in the repository."""
    if restore["status"] != "success":
        return 0
    return sum(length for volume in restore["volumes"] for _, length in volume["ranges"])


def _tell_ranges(restore: Json, names: Mapping[str, str], what: str) -> None:
    for volume in restore["volumes"]:
        for offset, length in volume["ranges"]:
            say(f"  disk {names[volume['volume_id']]}: bytes {offset} to {offset + length} {what}")


def _took(restore: Json) -> str:
    if restore["finished_at"] is None:
        return ""
    took = datetime.fromisoformat(restore["finished_at"]) - datetime.fromisoformat(restore["created_at"])
    count = took.total_seconds()
    # Over the whole time, resumed or not: a reader who divides the one by the other finds the same.
    rate = f" ({size(restore['stats']['total'] / count)}/s)" if count > 0 else ""
    return (f", in {count:.1f} s" if count < 60 else f", in {seconds(count)}") + rate
