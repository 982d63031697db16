"""`restead server recreate`: a lost domain is defined again from a backup of it.  Works on the data folder."""

from typing import Annotated

import typer

from restead.cli.doors import Stored
from restead.cli.servers import servers
from restead.cli.wiring import on_folder, say


@servers.command("recreate")
@on_folder
def recreate(
    stored: Stored,
    backup: Annotated[str, typer.Argument(help="Id, or a name that only one backup has.", metavar="BACKUP")],
    project: Annotated[str | None, typer.Option(help="Only a backup of this project.", show_default=False)] = None,
) -> None:
    """Define a lost domain of libvirt's again, as a backup of it keeps it; prints its id.

    Disks that are missing are made, empty: restore the backup into them. Nothing that is there is overwritten.
    """
    id = stored.recreate(backup, project, say)
    print(id)
