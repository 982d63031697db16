"""`restead token …`: who may speak to the service.  Works on the data folder, service or not."""

from typing import Annotated

import typer

from restead.cli.doors import House
from restead.cli.show import print_json, table, when
from restead.cli.wiring import Json, beginning_folder, duration, group, looking_into_folder, on_folder, say
from restead.domain.caller import Role
from restead.domain.token import Token

tokens = group("token", "Make, list and revoke the tokens that programs and people use.")

@tokens.command("create")
@beginning_folder
def create(
    house: House,
    project: Annotated[str, typer.Option(help="Project it opens; 1-64 of A-Z a-z 0-9 _ -.")],
    role: Annotated[
        str, typer.Option(help="reader changes nothing; admin reaches other projects too; or one of the settings.")
    ] = Role.MEMBER.value,
    expires: Annotated[
        str, typer.Option(help="How long it is good: 90d, 12h, 30m, 4w.", show_default=False, metavar="DURATION")
    ] = "",
) -> None:
    """Make a token and print it, this once: the last word on standard output."""
    token = house.create_token(project, role, duration(expires) if expires else None)
    until = f"for {expires}" if expires else "until it is revoked"
    say(f"a {role} of project {project}, good {until}; it is stored hashed and not shown again")
    print(token)


@tokens.command("list")
@looking_into_folder
def list_(house: House, json: Json = False) -> None:
    """List the tokens: everything about them but the tokens."""
    lines = house.tokens()
    if json:
        for line in lines:
            print_json(_plain(line))
        return
    rows = [
        (line.id, line.project_id, line.role, f"…{line.ending}", when(line.created_at), _good_until(line))
        for line in lines
    ]
    table(("ID", "PROJECT", "ROLE", "ENDS IN", "CREATED", "GOOD UNTIL"), rows)


@tokens.command("revoke")
@on_folder
def revoke(
    house: House,
    id: Annotated[str, typer.Argument(help="Id from `token list`, or how it begins.", metavar="ID")],
) -> None:
    """Make a token worthless, at once."""
    token = house.revoke_token(id)
    say(f"token {token.id} of project {token.project_id} is revoked")


def _good_until(line: Token) -> str:
    if line.revoked_at is not None:
        return f"revoked {when(line.revoked_at)}"
    return when(line.expires_at) if line.expires_at else "it is revoked"


def _plain(line: Token) -> dict[str, str | None]:
    return {
        "id": line.id,
        "project": line.project_id,
        "role": line.role,
        "ending": line.ending,
        "created_at": line.created_at.isoformat(),
        "expires_at": line.expires_at.isoformat() if line.expires_at else None,
        "revoked_at": line.revoked_at.isoformat() if line.revoked_at else None,
    }
