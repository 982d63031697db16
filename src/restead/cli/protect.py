"""`restead protect SERVER`: back a server up, and wait until it is done."""

from enum import StrEnum
from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import PROVIDER, Client
from restead.cli.client import Json as Body
from restead.cli.progress import Bar
from restead.cli.show import count_of, megabytes, print_json
from restead.cli.waiting import backup_states
from restead.cli.wiring import Exit, Json, NoWait, fail, over_http, say

_KB = 1024  # CSBS: "kB, MB and GB mean 2^10, 2^20 and 2^30 bytes"


class Consistency(StrEnum):
    BEST = "best"
    FILESYSTEM = "filesystem"


@over_http
def protect(
    client: Client,
    server: Annotated[str, typer.Argument(help="Name or id of the server.", metavar="SERVER")],
    name: Annotated[str, typer.Option(help="Name of the backup; made up if left out.", show_default=False)] = "",
    description: Annotated[str, typer.Option(help="A sentence to find it by.", show_default=False)] = "",
    full: Annotated[bool, typer.Option("--full", help="Look at every byte, whatever earlier backups hold.")] = False,
    consistency: Annotated[
        Consistency,
        typer.Option(help="filesystem: fail unless the guest's agent brings its file systems to rest."),
    ] = Consistency.BEST,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Back up all disks of a server. The backup's id is the last word on standard output."""
    found = find.server(client, server)
    wanted: Body = {"backup_name": name, "description": description, "incremental": not full}
    if consistency is not Consistency.BEST:
        wanted["consistency"] = consistency.value  # an extension: said to a service only if it is wanted
    path = f"/providers/{PROVIDER}/resources/{found['id']}/action"
    checkpoint = client.post(path, {"protect": wanted})["checkpoint"]
    backup = client.get("/checkpoint_items", checkpoint_id=checkpoint["id"])["checkpoint_items"][0]
    if not no_wait:
        backup = _wait(client, backup, found["name"], as_json=json)
    if json:
        print_json({"checkpoint_item": backup})
    else:
        _tell(backup)
        if not (found["can_start"] or found["can_stop"]):
            say(f"restead does not know who runs {found['name']} (power none), nor whether it was stopped: see to it")
        print(backup["id"])
    if backup["status"] == "error":
        raise typer.Exit(Exit.FAILED)


def _wait(client: Client, backup: Body, name: str, *, as_json: bool) -> Body:
    try:
        with Bar(f"backing up {name}", as_json=as_json) as bar:
            for backup in backup_states(client, backup["id"]):  # noqa: B020  the newest state is the backup
                about = backup["extend_info"]
                bar.show(about["progress"], rate=about["average_speed"] * _KB)
    except KeyboardInterrupt:
        raise fail(
            f"the backup goes on; look after it with: restead backup show {backup['id']}", Exit.INTERRUPTED
        ) from None
    return backup


def _tell(backup: Body) -> None:
    about = backup["extend_info"]
    if backup["status"] == "protecting":
        say(f"backup {backup['name']} is under way; look after it with: restead backup show {backup['id']}")
    elif backup["status"] == "error":
        say(f"backup {backup['name']} failed: {about['fail_reason']}")
    else:
        disks = count_of(len(about["volume_backups"]), "disk")
        say(f"backup {backup['name']}: {disks}, {megabytes(about['size'])} stored")
