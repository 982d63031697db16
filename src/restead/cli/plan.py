"""`restead restore --plan`: what a restore would do, as a table."""

from collections.abc import Mapping

from restead.cli.client import Json
from restead.cli.show import ranges, size, table, when
from restead.cli.wiring import say

_EXACT = ("kept", "to_write", "to_zero", "to_save")
_ACTIONS = {(): "the server stays stopped", ("stop",): "the server would be stopped",
            ("start",): "the server would be started afterwards",
            ("stop", "start"): "the server would be stopped, and started afterwards"}  # fmt: skip


def show_plan(plan: Json, names: Mapping[str, str], *, compare: bool) -> None:
    """Print the plan; *names*: of the disks by their ids; *compare*: whether exact numbers were asked for."""
    volumes = plan["volumes"]
    exact = [name for name in _EXACT if all(name in volume for volume in volumes)]
    headings = ("DISK", "SIZE", "BACKUP", "AT MOST", *(name.replace("_", " ").upper() for name in exact))
    rows = [
        (names.get(each["volume_id"], each["volume_id"]), size(each["target_size"]), size(each["size"]),
         size(each["to_write_at_most"]), *(size(each[name]) for name in exact))
        for each in volumes
    ]  # fmt: skip
    table(headings, rows)
    for each in volumes:
        for offset, length in each.get("damaged", ()):
            say(f"disk {names.get(each['volume_id'], each['volume_id'])}: bytes {offset} to {offset + length} are lost "
                "in the repository: refused, or zeroes with --salvage")  # fmt: skip
    tell_known_lost(plan, names)
    if compare and not exact:
        say("the server runs: its disks can be compared when it is stopped")
    for each in volumes:
        if each["target_size"] > each["size"]:
            tail, name = size(each["target_size"] - each["size"]), names.get(each["volume_id"], each["volume_id"])
            say(f"disk {name} is larger than the backup: its last {tail} would be zeroed")
    say(f"{_ACTIONS[tuple(plan['server_actions'])]}; nothing was changed")


def tell_known_lost(plan: Json, names: Mapping[str, str]) -> None:
    """Say what verifications have found lost of the disks that were not compared."""
    for each in plan["volumes"]:
        if (lost := each.get("known_lost")) is None or "damaged" in each:
            continue
        say(f"disk {names.get(each['volume_id'], each['volume_id'])}: the verification of {when(lost['found_at'])} UTC "
            f"found {size(lost['bytes'])} of its backup lost in the repository: unless the disk still holds that, the "
            "restore is refused, or with --salvage it becomes zeroes")  # fmt: skip
        for line in ranges(lost["ranges"]):
            say(line)
