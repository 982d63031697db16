"""`restead restore --plan`: what a restore would do, as a table."""

from collections.abc import Mapping

from restead.cli.client import Json
from restead.cli.show import size, table
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
    if compare and not exact:
        say("the server runs: its disks can be compared when it is stopped")
    for each in volumes:
        if each["target_size"] > each["size"]:
            tail, name = size(each["target_size"] - each["size"]), names.get(each["volume_id"], each["volume_id"])
            say(f"disk {name} is larger than the backup: its last {tail} would be zeroed")
    say(f"{_ACTIONS[tuple(plan['server_actions'])]}; nothing was changed")
