"""`restead notify …`: who was told what, what nobody took, and a test.  For administrators."""

from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import Client
from restead.cli.show import count_of, print_json, table, when
from restead.cli.wiring import Exit, Json, group, over_http, say
from restead.cli.wiring import fail as failed

notify = group("notify", "Who is told what happens: by webhook or mail, as the settings name them.")

_HEARD = {"later": "not now: a notice would be tried again", "refused": "refused"}
"""Outcome of a test → how people are told; a test itself is never tried again."""

_Id = Annotated[str, typer.Argument(help="Id of the notice for that recipient.", metavar="ID", show_default=False)]
_All = Annotated[bool, typer.Option("--all", help="All that were given up.")]


@notify.command("list")
@over_http
def list_notices(
    client: Client,
    recipient: Annotated[str, typer.Option(help="Only what this one is told.", show_default=False)] = "",
    status: Annotated[str, typer.Option(help="waiting, sent or dead.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 100,
    json: Json = False,
) -> None:
    """List who was, or is to be, told what, newest first."""
    _show(client, json, limit=limit, recipient=recipient, status=status)


@notify.command("dead")
@over_http
def list_dead(
    client: Client,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 100,
    json: Json = False,
) -> None:
    """List what was given up, newest first, with the last answer."""
    _show(client, json, limit=limit, status="dead")


@notify.command("retry")
@over_http
def retry(client: Client, id: _Id = "", all: _All = False) -> None:
    """Try again what was given up, as if for the first time."""
    path = "/retry" if _for_all(id, all) else f"/{find.segment(id)}/retry"
    tried = client.post(f"/notices{path}", {})["notices"]
    say(f"{count_of(tried, 'notice')} to be tried again")


@notify.command("drop")
@over_http
def drop(client: Client, id: _Id = "", all: _All = False) -> None:
    """Remove what was given up: nobody is told of it any more."""
    path = "" if _for_all(id, all) else f"/{find.segment(id)}"
    say(f"{count_of(client.delete(f'/notices{path}')['notices'], 'notice')} removed")


@notify.command("test")
@over_http
def send_test(
    client: Client,
    recipient: Annotated[
        str, typer.Argument(help="Whom to tell; everybody if left out.", metavar="RECIPIENT", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """Tell a test, at once and once, and show what the receiver answered."""
    there = [each["name"] for each in client.get("/notices/recipients")["recipients"]]
    if not recipient and not there:
        raise failed("the settings name nobody who is told: notify", Exit.REFUSED)
    names = [recipient] if recipient else there
    answers = [client.post(f"/notices/recipients/{find.segment(name)}/test", {})["answer"] for name in names]
    if json:
        for each in answers:
            print_json(each)
    else:
        rows = [(each["recipient"], _HEARD.get(each["outcome"], each["outcome"]), each["said"]) for each in answers]
        table(("RECIPIENT", "OUTCOME", "ANSWER"), rows)
    if any(each["outcome"] != "taken" for each in answers):
        raise typer.Exit(Exit.FAILED)


def _for_all(id: str, all: bool) -> bool:
    if bool(id) == all:
        raise typer.BadParameter("say an ID, or --all")
    return all


def _show(client: Client, json: bool, **query: str | int) -> None:
    found = client.get("/notices", **{name: value for name, value in query.items() if value})["notices"]
    if json:
        for each in found:
            print_json(each)
        return
    rows = [
        (each["id"], each["recipient"], each["status"], each["tries"], when(each["at"]), each["type"],
         each["summary"], each["answer"])
        for each in found
    ]  # fmt: skip
    table(("ID", "RECIPIENT", "STATUS", "TRIES", "AT (UTC)", "WHAT", "", "ANSWER"), rows)
