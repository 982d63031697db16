"""`restead backup export`: disks of a backup as image files, for whatever reads those.  Works on the data folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from restead.cli.backups import backups
from restead.cli.doors import Exporting, Stored
from restead.cli.importing import ImageFormat
from restead.cli.progress import Bar
from restead.cli.restore import Verify
from restead.cli.show import count_of, print_json, size
from restead.cli.wiring import Json, on_folder, say


@backups.command("export")
@on_folder
def export(
    stored: Stored,
    backup: Annotated[str, typer.Argument(help="Id, or a name that only one backup has.", metavar="BACKUP")],
    format: Annotated[ImageFormat, typer.Option(help="What the files are to be.")],
    out: Annotated[
        Path,
        typer.Option("--output", "-o", help="New file; with several disks a folder for the files.", metavar="FILE"),
    ],
    disk: Annotated[
        list[str] | None,
        typer.Option(help="Only this disk, by name or id; can be said several times.", metavar="DISK",
                     show_default=False),
    ] = None,
    verify: Annotated[Verify, typer.Option(help="readback: also read the files again.")] = Verify.STREAM,
    project: Annotated[str | None, typer.Option(help="Only a backup of this project.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Write the disks of a backup into new image files, all of them or none. Nothing that is there is overwritten.

    Every byte is proven to be the backup's. A service may run meanwhile.
    """
    wanted = Exporting(backup, format.value, out, tuple(disk or ()), project, verify is Verify.READBACK)
    with Bar("exporting", as_json=json) as bar:
        done = stored.export(wanted, lambda percent, rate, left: bar.show(percent, rate=rate, left=left))
        bar.show(100)
    for each in done:
        if json:
            print_json(asdict(each))
        else:
            say(f"disk {each.name} of {size(each.size)}, of which {size(each.written)} are not zero")
            print(each.path)
    if not json:
        say(f"{count_of(len(done), 'disk')} exported and proven")
