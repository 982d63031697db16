"""`restead backup tag` and `restead policy tag`: what people group backups and policies by."""

from typing import Annotated, Any

import typer

from restead.cli import find
from restead.cli.backups import backups
from restead.cli.client import Client
from restead.cli.policies import policies
from restead.cli.show import print_json
from restead.cli.wiring import Json, over_http

_Tags = Annotated[
    list[str] | None, typer.Argument(help="Tags to set, KEY=VALUE; none: only show them.", metavar="TAG")
]
_Remove = Annotated[list[str] | None, typer.Option(help="Key of a tag to remove; repeatable.", show_default=False)]


@backups.command("tag")
@over_http
def tag_backup(
    client: Client,
    backup: Annotated[str, typer.Argument(help="Id, or a name that only one backup has.", metavar="BACKUP")],
    tags: _Tags = None, remove: _Remove = None, json: Json = False,
) -> None:  # fmt: skip
    """Set and remove tags of a backup, and show those it has then."""
    _change(client, f"/csbs_backup/{find.backup(client, backup)['id']}/tags", tags, remove, json)


@policies.command("tag")
@over_http
def tag_policy(
    client: Client,
    policy: Annotated[str, typer.Argument(help="Name or id.", metavar="POLICY")],
    tags: _Tags = None, remove: _Remove = None, json: Json = False,
) -> None:  # fmt: skip
    """Set and remove tags of a policy, and show those it has then. Backups carry those of when they are made."""
    _change(client, f"/csbs_backup_policy/{find.policy(client, policy)['id']}/tags", tags, remove, json)


def _change(client: Client, path: str, tags: list[str] | None, remove: list[str] | None, json: bool) -> None:
    wanted = []
    for text in tags or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
        wanted.append({"key": key, "value": value})
    unwanted: list[dict[str, Any]] = [{"key": key} for key in remove or ()]
    for action, some in (("delete", unwanted), ("create", wanted)):
        if some:
            client.post(f"{path}/action", {"action": action, "tags": some})
    for tag in client.get(path)["tags"]:
        if json:
            print_json(tag)
        else:
            print(f"{tag['key']}={tag['value']}")
