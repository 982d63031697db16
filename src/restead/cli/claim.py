"""`restead repository claim`: to be the one who writes, in an object store that bears one writer only."""

from typing import Annotated

import typer

from restead.cli.doors import Stored
from restead.cli.repository import repository
from restead.cli.wiring import agree, beginning_folder, say


@repository.command("claim")
@beginning_folder
def claim(
    stored: Stored,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Make this data folder the only one that writes, where the object store lets two writes of one name win.

    The one that wrote before must have ended: what it has already sent is not waited for.
    """
    before = stored.writer()
    if before is None:
        say("the repository's store has no single writer: there is nothing to take over")
        return
    if not yes:
        say(f"the only writer is {before}")
        agree("has it ended for good, and shall this data folder take its place?")
    stored.claim()
    print(stored.writer())
