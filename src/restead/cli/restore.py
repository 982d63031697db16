"""`restead restore BACKUP`: put a server's disks back, after showing what will be written over what."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from json import dumps
from typing import Annotated

import typer
from rich.text import Text

from restead.cli import find
from restead.cli.client import PROVIDER, Client
from restead.cli.client import Json as Body
from restead.cli.following import follow, lost_bytes, tell_end
from restead.cli.plan import show_plan, tell_known_lost
from restead.cli.show import count_of, print_json, shown, size, when
from restead.cli.wiring import Exit, Json, NoWait, PowerOn, agree, over_http, say, stderr
from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import same_id

_SOURCE_KEYS = ("id", "source_volume_id", "source_volume_name")


_Map = Annotated[
    list[str] | None,
    typer.Option(
        help="Which disk of the backup goes to which disk, each by id or name; repeat it for each. "
        "Left out: each to the disk it came from, or on another server to the one of its role and name.",
        metavar="BACKUP_DISK=DISK",
        show_default=False,
    ),
]
_Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Restore only this disk of the backup, by id or name; repeat it for more.",
        metavar="BACKUP_DISK",
        show_default=False,
    ),
]


class Verify(StrEnum):
    STREAM = "stream"
    READBACK = "readback"


@dataclass(frozen=True, slots=True)
class _Request:
    """What will be asked for, with what people need to see before they agree."""

    backup: Body
    server: Body
    pairs: tuple[tuple[Body, Body], ...]  # (disk backup, disk)
    power_on: bool
    extensions: Body  # further parameters, only those that were asked for

    @property
    def body(self) -> Body:
        mappings = [{"backup_id": source["id"], "volume_id": disk["id"]} for source, disk in self.pairs]
        return {
            "restore": {
                "provider_id": PROVIDER,
                "checkpoint_id": self.backup["checkpoint_id"],
                "parameters": {
                    "checkpoint_item_id": self.backup["id"],
                    "power_on": self.power_on,
                    "targets": {"server_id": self.server["id"], "volumes": mappings},
                    **self.extensions,
                },
            }
        }


@over_http
def restore(
    client: Client,
    backup: Annotated[str, typer.Argument(help="Id, or a name that only one backup has.", metavar="BACKUP")],
    to: Annotated[
        str, typer.Option("--to", help="Server to restore; the one that was backed up if left out.", metavar="SERVER")
    ] = "",
    map: _Map = None,
    power_on: PowerOn = None,
    only: _Only = None,
    no_safety: Annotated[
        bool, typer.Option("--no-safety", help="Do not keep what is overwritten: no rolling back, no undo.")
    ] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="What is lost in the repository becomes zeroes; 1 if anything was.")
    ] = False,
    verify: Annotated[
        Verify, typer.Option(help="stream: prove every byte on its way; readback: also read the disks again.")
    ] = Verify.STREAM,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    print_request: Annotated[
        bool, typer.Option("--print-request", help="Only print the request that would be sent, for curl.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="With --plan: read the disks of a stopped server for exact numbers.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Restore a server's disks. What is on them now is overwritten. The restore's id is printed last."""
    if compare and not plan:
        raise typer.BadParameter("--compare goes with --plan")
    request = _request(client, backup, to, map or [], only or [], power_on)
    request.extensions.update(_extensions(no_safety=no_safety, salvage=salvage, verify=verify, compare=compare))
    if print_request:
        print(dumps(request.body, indent=2, ensure_ascii=False))
        return
    found = client.post("/restores/plan", request.body)["plan"]  # so that what is refused is refused before it is shown
    if plan:
        _tell_plan(found, request, compare=compare, as_json=json)
        return
    _show(request, found)
    if not yes:
        agree(f"overwrite {count_of(len(request.pairs), 'disk')}?")
    _bring_to_end(client, request, wait=not no_wait, as_json=json)


def _bring_to_end(client: Client, request: _Request, *, wait: bool, as_json: bool) -> None:
    """Ask for the restore, wait for its end if that is wanted, and tell how it went."""
    found = client.post("/restores", request.body)["restore"]
    if wait:
        found = follow(client, found, f"restoring {request.server['name']}", as_json=as_json)
    if as_json:
        print_json({"restore": found})
    else:
        tell_end(client, found)
        print(found["id"])
    if found["status"] == "fail" or lost_bytes(found):
        raise typer.Exit(Exit.FAILED)


def _request(
    client: Client, name: str, to: str, maps: Sequence[str], only: Sequence[str], power_on: bool | None
) -> _Request:
    backup = find.backup(client, name)
    server = _target(client, backup, to)
    sources = backup["extend_info"]["volume_backups"]
    given = [_given(text, sources, server) for text in maps]
    wanted = [_only(text, sources, _SOURCE_KEYS, "the backup has") for text in only] or sources
    pairs = [pair for pair in given if pair[0] in wanted] if given else [
        (source, _disk_for(source, backup, server)) for source in wanted
    ]  # fmt: skip
    running = server["status"] == "running"
    if power_on and not server["can_start"]:
        raise InvalidRequest(
            f"restead cannot start server {server['name']} (power none): leave out --power-on, and start it yourself"
        )
    extensions: Body = {"allow_partial": True} if only else {}
    return _Request(backup, server, tuple(pairs), running if power_on is None else power_on, extensions)


def _extensions(*, no_safety: bool, salvage: bool, verify: Verify, compare: bool) -> Body:
    """The parameters that are not as they are if nobody says anything."""
    every = {"safety": (False, no_safety), "salvage": (True, salvage),
             "verify": (verify.value, verify is not Verify.STREAM), "compare": (True, compare)}  # fmt: skip
    return {name: value for name, (value, said) in every.items() if said}


def _tell_plan(found: Body, request: _Request, *, compare: bool, as_json: bool) -> None:
    if as_json:
        print_json({"plan": found})
    else:
        show_plan(found, {disk["id"]: disk["name"] for _, disk in request.pairs}, compare=compare)


def _target(client: Client, backup: Body, to: str) -> Body:
    try:
        return find.server(client, to or backup["resource_id"])
    except NotFound:
        if to:
            raise
        raise InvalidRequest(
            f"server {backup['extend_info']['resource_name']} ({backup['resource_id']}), which was backed up, is not "
            "there any more: say which server to restore with --to"
        ) from None


def _given(text: str, sources: Sequence[Body], server: Body) -> tuple[Body, Body]:
    one, equals, other = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--map {text!r} is not BACKUP_DISK=DISK")
    source = _only(one, sources, _SOURCE_KEYS, "the backup has")
    return source, _only(other, server["volumes"], ("id", "name"), f"server {server['name']} has")


def _only(text: str, among: Sequence[Body], keys: Sequence[str], who: str) -> Body:
    for key in keys:
        found = [each for each in among if same_id(each[key], text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidRequest(f"{who} {len(found)} disks called {text}; say which by its id")
    raise InvalidRequest(f"{who} no disk {text}; it has " + ", ".join(str(each[keys[-1]]) for each in among))


def _disk_for(source: Body, backup: Body, server: Body) -> Body:
    """The disk that *source* came from; on another server the boot disk for a boot disk, else the one of its name."""
    disks: list[Body] = server["volumes"]
    if same_id(server["id"], backup["resource_id"]):
        fitting = [disk for disk in disks if same_id(disk["id"], source["source_volume_id"])]
    elif source["bootable"]:
        fitting = [disk for disk in disks if disk["bootable"]]
    else:
        fitting = [disk for disk in disks if disk["name"] == source["source_volume_name"] and not disk["bootable"]]
    if len(fitting) != 1:
        raise InvalidRequest(
            f"it is not clear which disk of server {server['name']} disk {source['source_volume_name']} of the backup "
            f"goes to: say so with --map {source['source_volume_name']}=DISK for each disk of the backup"
        )
    return fitting[0]


def _show(request: _Request, plan: Body) -> None:
    about, server = request.backup["extend_info"], request.server
    say(
        f"backup {request.backup['name']} of server {about['resource_name']}, as it was at "
        f"{when(request.backup['protected_at'])} UTC"
    )
    say(f"will be written over these disks of server {server['name']} ({server['id']}):")
    for (source, disk), planned in zip(request.pairs, plan["volumes"], strict=True):
        about = f"{disk['location'] or disk['id']}, {size(disk['size'])}"
        tail = planned["target_size"] - planned["size"]
        about += f"; the backup is of {size(planned['size'])}, the last {size(tail)} are zeroed" if tail else ""
        which = f"    {source['source_volume_name']} → {disk['name']}"
        stderr.print(Text(shown(which), "bold"), Text(shown(about), "dim"))
    tell_known_lost(plan, {disk["id"]: disk["name"] for _, disk in request.pairs})
    say(_power(server, after=request.power_on))
    if "salvage" in request.extensions:
        say("what of the backup is lost in the repository becomes ZEROES on the disks; its ranges are told at the end")
    if "safety" in request.extensions:
        say("what stands there now is NOT kept: this cannot be rolled back or undone")


def _power(server: Body, *, after: bool) -> str:
    if not (server["can_stop"] or server["can_start"]):
        return "restead does not know who runs the server (power none): keep it stopped until this has ended"
    before = "is stopped for it" if server["status"] == "running" else "is stopped"
    return f"the server {before} and {'started afterwards' if after else 'stays stopped'}"
