"""`restead backup …` and `restead checkpoint …`: what there is to restore."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from restead.cli import find
from restead.cli.backup_throttle import throttle
from restead.cli.client import PROVIDER, Client
from restead.cli.client import Json as Body
from restead.cli.show import facts, megabytes, print_json, table, when
from restead.cli.wiring import Json, agree, duration, group, over_http, say

backups = group("backup", "List, show and delete backups.")
checkpoints = group("checkpoint", "List and show runs of backups: one moment, one or more servers.")

backups.command("throttle")(throttle)

_BackupName = Annotated[str, typer.Argument(help="Id, or a name that only one backup has.", metavar="BACKUP")]


@backups.command("list")
@over_http
def list_backups(
    client: Client,
    server: Annotated[str, typer.Option(help="Only those of this server, by name or id.", show_default=False)] = "",
    status: Annotated[str, typer.Option(help="Only those in this state.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """List backups, newest first."""
    query = {"status": status, "resource_id": find.server(client, server)["id"] if server else ""}
    found = client.all("/checkpoint_items", "checkpoint_items", **{k: v for k, v in query.items() if v})
    if json:
        for each in found:
            print_json(each)
        return
    rows = [
        (each["id"], each["name"], each["extend_info"]["resource_name"], each["status"], when(each["protected_at"]),
         megabytes(each["extend_info"]["size"]), _held(each))
        for each in found
    ]  # fmt: skip
    headings = ("ID", "NAME", "SERVER", "STATUS", "MOMENT (UTC)", "STORED", "HELD UNTIL (UTC)")
    shown = len(headings) if any(row[-1] for row in rows) else len(headings) - 1
    table(headings[:shown], [row[:shown] for row in rows])


@backups.command("show")
@over_http
def show_backup(client: Client, backup: _BackupName, json: Json = False) -> None:
    """Show one backup with its disks."""
    found = find.backup(client, backup)
    if json:
        print_json(found)
        return
    about = found["extend_info"]
    facts(
        [("id", found["id"]), ("name", found["name"]), ("description", found["description"]),
         ("status", found["status"]), ("progress", _percent(found)), ("failed", about["fail_reason"]),
         ("server", f"{about['resource_name']} ({found['resource_id']})"), ("moment", when(found["protected_at"])),
         ("consistency", about.get("consistency", "")),
         ("guest pause", f"{pause / 1000:.1f} ms" if (pause := about.get("guest_pause_us")) is not None else ""),
         ("checkpoint", found["checkpoint_id"]),
         ("held until", when(held) if (held := about.get("held_until")) else ""),
         ("stored", megabytes(about["size"])), ("saved", f"{about['space_saving_ratio']} %")]
    )  # fmt: skip
    if about["volume_backups"]:
        print()
        rows = [
            (each["id"], each["source_volume_name"], f"≤ {each['source_volume_size']} GiB", each["status"],
             "boot" if each["bootable"] else "", megabytes(each["size"]))
            for each in about["volume_backups"]
        ]  # fmt: skip
        table(("DISK BACKUP", "DISK", "SIZE", "STATUS", "", "STORED"), rows)


@backups.command("hold")
@over_http
def hold_backup(
    client: Client,
    backup: _BackupName,
    until: Annotated[
        str, typer.Option(help="Date, or date and time in UTC: 2027-03-02, 2027-03-02T12:00:00.", show_default=False)
    ] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long from now: 90d, 12h, 30m, 4w.", show_default=False)] = "",
) -> None:
    """Let nobody delete a backup before a time, administrators included. A hold can be made longer, never shorter."""
    moment = _moment(until, lasts)
    found = find.backup(client, backup)
    answer = client.post(f"/checkpoint_items/{found['id']}/action", {"hold": {"until": f"{moment:%Y-%m-%dT%H:%M:%S}"}})
    held = answer["checkpoint_item"]["extend_info"]["held_until"]
    say(f"nobody can delete backup {found['name']} ({found['id']}) before {when(held)} UTC")


@backups.command("delete")
@over_http
def delete_backup(
    client: Client,
    backup: _BackupName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """Delete a backup. Other backups of the same disks are not harmed."""
    found = find.backup(client, backup)
    if not yes:
        question = f"delete backup {found['name']} of {found['extend_info']['resource_name']}, "
        agree(f"{question}{when(found['protected_at'])} UTC?")
    client.delete(f"/providers/{PROVIDER}/checkpoints/{found['checkpoint_id']}", checkpoint_items=found["id"])
    say(f"backup {found['name']} ({found['id']}) is being deleted")


@checkpoints.command("list")
@over_http
def list_checkpoints(client: Client, json: Json = False) -> None:
    """List checkpoints, newest first."""
    found = client.all(f"/providers/{PROVIDER}/checkpoints", "checkpoints")
    if json:
        for each in found:
            print_json(each)
        return
    rows = [(each["id"], each["status"], when(each["created_at"]), _names(each)) for each in found]
    table(("ID", "STATUS", "CREATED (UTC)", "SERVERS"), rows)


@checkpoints.command("show")
@over_http
def show_checkpoint(
    client: Client, checkpoint: Annotated[str, typer.Argument(help="Id.", metavar="CHECKPOINT")], json: Json = False
) -> None:
    """Show one checkpoint with its backups."""
    found = find.checkpoint(client, checkpoint)
    if json:
        print_json(found)
        return
    facts([("id", found["id"]), ("status", found["status"]), ("created", when(found["created_at"])),
           ("plan", found["protection_plan"]["name"]), ("servers", _names(found))])  # fmt: skip
    items = client.all("/checkpoint_items", "checkpoint_items", checkpoint_id=found["id"])
    print()
    rows = [(each["id"], each["name"], each["extend_info"]["resource_name"], each["status"]) for each in items]
    table(("BACKUP", "NAME", "SERVER", "STATUS"), rows)


def _held(backup: Body) -> str:
    held = backup["extend_info"].get("held_until")
    return when(held) if held else ""


def _moment(until: str, lasts: str) -> datetime:
    if bool(until) == bool(lasts):
        raise typer.BadParameter("say either --until or --for")
    if lasts:
        return datetime.now(UTC) + duration(lasts)
    try:
        found = datetime.fromisoformat(until)
    except ValueError:
        raise typer.BadParameter(f"{until!r} is no date such as 2027-03-02") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _names(checkpoint: Body) -> str:
    return ", ".join(each["name"] for each in checkpoint["protection_plan"]["resources"])


def _percent(backup: Body) -> str:
    return f"{backup['extend_info']['progress']} %" if backup["status"] in ("protecting", "restoring") else ""
