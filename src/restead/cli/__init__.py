"""The command line.  The two deeds are verbs (`protect`, `restore`), all else is noun, then verb.

Results go to standard output, everything else to standard error with `restead: ` in front.
"""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from restead import __version__
from restead.cli import claim  # noqa: F401  adds itself to its group
from restead.cli.audit import audit
from restead.cli.backup_export import export  # noqa: F401 - adds itself to the group
from restead.cli.backups import backups, checkpoints
from restead.cli.database import database
from restead.cli.doors import Doors, House, NewServer
from restead.cli.importing import import_
from restead.cli.keys import keys
from restead.cli.log import log
from restead.cli.notify import notify
from restead.cli.policies import policies
from restead.cli.protect import protect
from restead.cli.quotas import quotas
from restead.cli.recover import recover
from restead.cli.reports import reports
from restead.cli.repository import repository
from restead.cli.repository_collect import collect  # noqa: F401 - adds itself to the group
from restead.cli.repository_copy import copy  # noqa: F401 - adds itself to the group
from restead.cli.restore import restore
from restead.cli.restores import restores
from restead.cli.serve import serve
from restead.cli.server_recreate import recreate  # noqa: F401 - adds itself to the group
from restead.cli.servers import servers
from restead.cli.status import status
from restead.cli.tags import tag_backup  # noqa: F401 - adds itself to the groups
from restead.cli.tokens import tokens
from restead.cli.wiring import EXIT_CODES, Commands, Exit, fail

__all__ = ["Doors", "House", "NewServer", "command_line", "run"]


def command_line() -> typer.Typer:
    """Return the whole command line, to be called with the doors as its object."""
    line = typer.Typer(
        name="restead",
        help="Backs up whole virtual machines and brings them back, bit for bit.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        cls=Commands,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    line.callback()(_root)
    verbs: dict[str, Callable[..., None]] = {
        "protect": protect, "restore": restore, "status": status, "serve": serve, "recover": recover,
        "import": import_, "audit": audit,
    }  # fmt: skip
    for name, verb in verbs.items():
        line.command(name, epilog=EXIT_CODES)(verb)
    for nouns in (
        backups, checkpoints, restores, servers, tokens, keys, repository, policies, log, reports, quotas, database,
        notify,
    ):  # fmt: skip
        line.add_typer(nouns)
    return line


def run(doors: Doors) -> None:
    """Do what the process's arguments say, and exit."""
    try:
        try:
            command_line()(obj=doors)
        finally:
            sys.stdout.flush()  # results that cannot be written are no success
    except OSError as error:  # of a file or folder on the way, or of what the results are written to
        with open(os.devnull, "w") as nothing:  # or the interpreter tries to write them once more
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(fail(f"{where}{error.strerror or error}", Exit.NOT_REACHABLE).exit_code) from error


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"restead {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
