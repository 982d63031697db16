"""`restead restores …`: what became of restores."""

from collections.abc import Sequence
from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import Client
from restead.cli.client import Json as Body
from restead.cli.following import follow, lost_bytes, tell_end
from restead.cli.restore_actions import RestoreId, cancel, throttle, undo
from restead.cli.show import facts, print_json, size, table, when
from restead.cli.wiring import Exit, Json, group, over_http
from restead.domain.ids import canonical_id

restores = group("restores", "List, show, watch, cancel, undo and slow down restores.")

for name, verb in {"cancel": cancel, "undo": undo, "throttle": throttle}.items():
    restores.command(name)(verb)


@restores.command("list")
@over_http
def list_restores(
    client: Client,
    status: Annotated[
        str, typer.Option(help="Only those in this state: in_progress, success, fail.", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """List restores, newest first."""
    found = list(client.all("/restores", "restores", **({"status": status} if status else {})))
    if json:
        for each in found:
            print_json(each)
        return
    servers, backups = _names(client, found)
    rows = [
        (each["id"], each["status"], f"{each['progress']} %", when(each["created_at"]),
         servers.get(canonical_id(server := each["parameters"]["targets"]["server_id"]), server),
         backups.get(canonical_id(backup := each["parameters"]["checkpoint_item_id"]), backup))
        for each in found
    ]  # fmt: skip
    table(("ID", "STATUS", "DONE", "CREATED (UTC)", "SERVER", "BACKUP"), rows)


def _names(client: Client, found: Sequence[Body]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of servers and of backups by their ids; what is not there any more has none."""
    servers = {canonical_id(each["id"]): each["name"] for each in client.get("/servers")["servers"]} if found else {}
    missing = {canonical_id(each["parameters"]["checkpoint_item_id"]) for each in found}
    backups: dict[str, str] = {}
    for each in client.all("/checkpoint_items", "checkpoint_items", limit=1000) if found else ():
        backups[canonical_id(each["id"])] = each["name"]
        missing.discard(canonical_id(each["id"]))
        if not missing:
            break
    return servers, backups


@restores.command("show")
@over_http
def show(client: Client, restore: RestoreId, json: Json = False) -> None:
    """Show one restore with its disks and numbers."""
    found = find.restore(client, restore)
    if json:
        print_json(found)
        return
    stats, server, names = found["stats"], *find.disks(client, found)
    facts(
        [("id", found["id"]), ("status", found["status"]), ("progress", f"{found['progress']} %"),
         ("failed", found["fail_code"].get("Description", "")), ("created", when(found["created_at"])),
         ("finished", when(found["finished_at"])), ("backup", found["parameters"]["checkpoint_item_id"]),
         ("server", server), ("undo of", found["undo_of"] or ""),
         ("kept for undo in", found["safety_checkpoint_id"] or ""), ("total", size(stats["total"])),
         ("right already", size(stats["kept"])), ("fetched", size(stats["fetched"])), ("saved", size(stats["saved"])),
         ("written", size(stats["written"])), ("zeroed", size(stats["zeroed"])), ("proven", size(stats["verified"]))]
    )  # fmt: skip
    print()
    rows = [
        (names[each["volume_id"]], each["outcome"], f"{each['progress']} %", each["backup_id"],
         " ".join(f"{offset}+{length}" for offset, length in each["ranges"]))
        for each in found["volumes"]
    ]  # fmt: skip
    table(("DISK", "OUTCOME", "DONE", "FROM DISK BACKUP", "NOT AS IT SHOULD BE"), rows)


@restores.command("watch")
@over_http
def watch(client: Client, restore: RestoreId, json: Json = False) -> None:
    """Follow a restore to its end; the exit code says how it ended."""
    found = follow(client, find.restore(client, restore), f"restore {restore[:8]}", as_json=json)
    if json:
        print_json({"restore": found})
    else:
        tell_end(client, found)
    if found["status"] == "fail" or lost_bytes(found):
        raise typer.Exit(Exit.FAILED)
