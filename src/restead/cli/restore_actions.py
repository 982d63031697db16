"""`restead restores cancel`, `undo` and `throttle`: changing what a restore does, or has done."""

import re
from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import Client
from restead.cli.client import Json as Body
from restead.cli.following import follow, tell_end
from restead.cli.show import count_of, print_json, say_rate
from restead.cli.wiring import Exit, Json, NoWait, PowerOn, agree, fail, over_http, say
from restead.domain.errors import NotFound

RestoreId = Annotated[str, typer.Argument(help="Id of the restore.", metavar="RESTORE")]

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?(?:/s)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@over_http
def cancel(client: Client, restore: RestoreId, no_wait: NoWait = False, json: Json = False) -> None:
    """Give a restore up: it stops writing, and every disk is put back to what it held before."""
    found = _act(client, restore, {"cancel": {}})
    if not no_wait:
        found = follow(client, found, f"cancelling {restore[:8]}", as_json=json)
    _tell(client, found, as_json=json)
    unharmed = all(each["outcome"] in ("put_back", "untouched") for each in found["volumes"])
    if not no_wait and not unharmed:
        raise typer.Exit(Exit.FAILED)


@over_http
def undo(
    client: Client,
    restore: RestoreId,
    power_on: PowerOn = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Bring back what a restore has overwritten. The id of the restore that does so is printed last."""
    undone = find.restore(client, restore)
    server_id = undone["parameters"]["targets"]["server_id"]
    running, name = _server(client, server_id)
    count = len(undone["volumes"])
    say(f"what stood on {count_of(count, 'disk')} of server {name} before restore {undone['id']}")
    say("will be written over what stands there now")
    if not yes:
        agree("bring it back?")
    found = _act(client, restore, {"undo": {"power_on": running if power_on is None else power_on}})
    if not no_wait:
        found = follow(client, found, f"undoing {restore[:8]}", as_json=json)
    _tell(client, found, as_json=json)
    if not json:
        print(found["id"])
    if found["status"] == "fail":
        raise typer.Exit(Exit.FAILED)


@over_http
def throttle(
    client: Client,
    words: Annotated[
        list[str],
        typer.Argument(
            help="Id of the restore (none with --all), and bytes per second it may read and write disks with: "
            "50000000, 50M, 1.5G, or none for no limit.",
            metavar="[RESTORE] RATE",
        ),
    ],
    every: Annotated[bool, typer.Option("--all", help="All restores of all projects together.")] = False,
    json: Json = False,
) -> None:
    """Set how fast a restore may be, or with --all how fast all together may be; also while they run."""
    rate, body = rate_wanted(words, "RESTORE", every=every)
    if every:
        client.post("/restores/action", body)
        whose = "all restores together"
    else:
        found = _act(client, words[0], body)
        whose = f"restore {found['id']}"
        if json:
            print_json({"restore": found})
    say(f"{whose}: {say_rate(rate)}")


def rate_wanted(words: list[str], noun: str, *, every: bool) -> tuple[int, Body]:
    """Return the rate that ends *words*, and what is sent for it; with *every* no *noun* stands before it.

    Raises:
        BadParameter: there are more or fewer words, or the last one is no rate.
    """
    if len(words) != (1 if every else 2):
        raise typer.BadParameter(f"say {noun} and RATE, or --all and RATE")
    rate = bytes_per_second(words[-1])
    return rate, {"throttle": {"bytes_per_second": rate}}


def bytes_per_second(text: str) -> int:
    """Return what a rate on the command line means, 0 for none.  Raises BadParameter."""
    if text.lower() == "none":
        return 0
    match = _RATE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no rate; say for example 50000000, 50M, 1.5G or none")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def _act(client: Client, id: str, action: Body) -> Body:
    found: Body = client.post(f"/restores/{find.segment(id)}/action", action)["restore"]
    return found


def _server(client: Client, id: str) -> tuple[bool, str]:
    """Return whether the server runs now, and its name."""
    try:
        found = find.server(client, id)
    except NotFound:
        raise fail(f"server {id} is not there any more", Exit.REFUSED) from None
    return found["status"] == "running", found["name"]


def _tell(client: Client, found: Body, *, as_json: bool) -> None:
    if as_json:
        print_json({"restore": found})
    else:
        tell_end(client, found)
