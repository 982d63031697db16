"""`restead recover`: a whole service again, on a new machine, from its repository and a key."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from restead.cli.doors import RecoverySecret
from restead.cli.repository import fail_if_damaged, tell_settled, tell_succession
from restead.cli.show import count_of, on_terminal
from restead.cli.wiring import ConfigOption, Exit, Json, doors_of, fail, say, settings_of


def recover(
    ctx: typer.Context,
    repository: Annotated[
        str, typer.Option(help="Where the repository is: a folder, or s3://BUCKET/PREFIX.", metavar="ADDRESS")
    ],
    data: Annotated[Path, typer.Option(help="New data folder, which is made.", metavar="DIR")],
    key_file: Annotated[
        Path | None, typer.Option(help="Key file that opens it; it is copied.", metavar="FILE", show_default=False)
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the passphrase; the service needs it, too.", metavar="FILE", show_default=False),
    ] = None,
    at_least: Annotated[
        str,
        typer.Option(help="What `repository digest` printed: an older one is refused.", metavar="N:DIGEST",
                     show_default=False),
    ] = "",
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Rebuild a lost service: backups, holds, tokens, servers. Asks for the recovery key if no other key is said."""
    settings = settings_of(config, data=data, passphrase_file=passphrase_file)
    wanted = _entry(at_least) if at_least else None
    key = "" if key_file or settings.passphrase or settings.passphrase_file else _recovery_key()
    with doors_of(ctx).recovery(settings, repository, RecoverySecret(key_file, key), wanted) as found:
        tell_succession(succession := found.take_over())
        done = tell_settled(found.settle(), json=json)
        found.done()
    if succession is None:
        say("the repository holds no copy of what the service knew: make tokens, and add the servers again")
    say(f"{count_of(len(done), 'backup')} in the lists of {settings.data}; now start the service on it")
    fail_if_damaged(succession, done)


def _entry(text: str) -> tuple[int, bytes]:
    match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
    if not match:
        raise fail(f"{text!r} is nothing that restead repository digest prints", Exit.USAGE)
    return int(match[1]), bytes.fromhex(match[2])


def _recovery_key() -> str:
    if on_terminal():
        return str(typer.prompt("restead: recovery key", err=True, hide_input=True))
    return sys.stdin.read().strip()
