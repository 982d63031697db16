"""`restead log …`: what was done, or left undone, and what came of it."""

from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import Client
from restead.cli.show import print_json, table, when
from restead.cli.wiring import Json, group, over_http, say

log = group("log", "The operation log: backups, restores and deletions, and what a schedule left undone.")


@log.command("list")
@over_http
def list_operations(
    client: Client,
    server: Annotated[str, typer.Option(help="Only those of this server, by name or id.", show_default=False)] = "",
    status: Annotated[
        str, typer.Option(help="waiting, running, success, failed or skipped.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 100,
    json: Json = False,
) -> None:
    """List the newest entries, newest first."""
    query = {"status": status, "resource_id": find.server(client, server)["id"] if server else ""}
    found = client.get("/operation_logs", limit=limit, **{k: v for k, v in query.items() if v})["operation_logs"]
    if json:
        for each in found:
            print_json(each)
        return
    rows = [
        (each["id"], each["operation_type"], each["status"], when(each["created_at"]),
         each["extra_info"]["resource"]["name"], each["error_info"]["message"])
        for each in found
    ]  # fmt: skip
    table(("ID", "WHAT", "STATUS", "CREATED (UTC)", "SERVER", "REASON"), rows)


@log.command("remove")
@over_http
def remove(client: Client, id: Annotated[str, typer.Argument(help="Id of the entry.", metavar="ID")]) -> None:
    """Remove a finished entry; what it was about stays."""
    client.delete(f"/operation_logs/{find.segment(id)}")
    say(f"entry {id} is removed")
