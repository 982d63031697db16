"""`restead db …`: the records as a database.  Works on the data folder."""

from typing import Annotated

import typer

from restead.cli.doors import Database
from restead.cli.show import count_of, print_line
from restead.cli.wiring import Exit, agree, beginning_folder, fail, group, looking_into_folder, on_folder, say

database = group("db", "Bring the records up to date, look whether they are whole, and move them to another database.")


@database.command("upgrade")
@beginning_folder
def upgrade(db: Database) -> None:
    """Bring the records up to this release's shape, as a start of the service does, and print which that is."""
    before, now = db.upgrade()
    if before is None:
        say("there were no records yet; their tables are made")
    elif before == now:
        say("nothing was to do")
    else:
        say(f"they had shape {before}")
    print(now)


@database.command("check")
@looking_into_folder
def check(db: Database) -> None:
    """Look at the database and at every row; print what is wrong."""
    found = 0
    for finding in db.check():
        found += 1
        print_line(finding)
    if found:
        raise fail(f"the records are not whole: {count_of(found, 'finding')}", Exit.FAILED)
    say("the records are whole")


@database.command("copy")
@on_folder
def copy(
    db: Database,
    address: Annotated[
        str, typer.Argument(help="postgresql://USER@HOST/DATABASE, or sqlite:////FILE.", metavar="ADDRESS")
    ],
) -> None:
    """Copy all records into an empty database, and prove that they are the same there.

    End the service before; say in the setting `database` where they are, after.  The old ones stay as they are, and no
    service starts on them until `restead db claim`.
    """
    db.copy(address, lambda table, rows: print(f"{table} {rows}"))
    say("all rows are there, read again and compared; put the address into the setting `database` now")


@database.command("claim")
@on_folder
def claim(
    db: Database,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Let the records be this data folder's, whose service alone then works on them.

    Whose they were must have ended, or both would do what the records promise.
    """
    before = db.owner()
    if before is not None and not yes:
        say(f"the records belong to {before}")
        agree("is that over for good, and shall they be this data folder's?")
    db.claim()
