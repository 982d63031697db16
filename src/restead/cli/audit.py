"""`restead audit`: who asked for what, when, and what came of it.  Works on the data folder."""

import re
from typing import Annotated

import typer

from restead.cli.doors import House
from restead.cli.show import count_of, print_json, table, when
from restead.cli.wiring import Exit, Json, fail, looking_into_folder, say
from restead.domain.audit import AuditEntry


@looking_into_folder
def audit(
    house: House,
    after: Annotated[int, typer.Option(help="Only entries behind that number.", min=0)] = 0,
    project: Annotated[str, typer.Option(help="Only of this project.", show_default=False)] = "",
    user: Annotated[str, typer.Option(help="Only what this user asked for.", show_default=False)] = "",
    check: Annotated[bool, typer.Option("--check", help="Follow the chain instead; print number and digest.")] = False,
    known: Annotated[
        str,
        typer.Option(help="With --check: what an earlier check printed; it has to be in the chain.",
                     metavar="N:DIGEST", show_default=False),
    ] = "",
    json: Json = False,
) -> None:
    """Show the audit trail, oldest first: each call or command that would change something, and what came of it."""
    if check or known:
        number, digest = house.check_audit(_known(known) if known else None)
        say(f"{count_of(number, 'entry', 'entries')}, each as it was written")
        print(f"{number}:{digest}")
        return
    found = (each for each in house.audit(after) if _wanted(each, project, user))
    if json:
        for entry in found:
            print_json(_plain(entry))
        return
    rows = [
        (str(each.number), when(each.at), each.said.phase.value, each.said.user or "–", each.said.action,
         each.said.subject, each.said.outcome)
        for each in found
    ]  # fmt: skip
    table(("NO", "AT (UTC)", "", "USER", "ACTION", "SUBJECT", "OUTCOME"), rows)


def _known(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
    if not match:
        raise fail(f"{text!r} is nothing that restead audit --check prints", Exit.USAGE)
    return int(match[1]), match[2]


def _wanted(entry: AuditEntry, project: str, user: str) -> bool:
    return (not project or entry.said.project_id == project) and (not user or entry.said.user == user)


def _plain(entry: AuditEntry) -> dict[str, object]:
    said = entry.said
    return {
        "number": entry.number, "at": entry.at.isoformat(), "phase": said.phase.value, "user": said.user,
        "project": said.project_id, "action": said.action, "subject": said.subject, "address": said.address,
        "request_id": said.request_id, "outcome": said.outcome, "digest": entry.digest,
    }  # fmt: skip
