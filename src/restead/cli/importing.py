"""`restead import raw|qcow2 FILE…`: disk images that exist already become a backup.  Works on the data folder."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from restead.cli.doors import House, NewImport
from restead.cli.progress import Bar
from restead.cli.show import count_of, print_json, size
from restead.cli.wiring import Json, on_folder, say
from restead.domain.backup import Backup


class ImageFormat(StrEnum):
    """What an image is; said, never guessed."""

    RAW = "raw"
    QCOW2 = "qcow2"


@on_folder
def import_(
    house: House,
    format: Annotated[ImageFormat, typer.Argument(help="What the files are.", show_default=False)],
    files: Annotated[
        list[Path], typer.Argument(help="Images, in the order of the server's disks.", metavar="FILE...")
    ],
    server: Annotated[
        str, typer.Option(help="Name or id of the server; a new name describes one.", metavar="SERVER")
    ],
    project: Annotated[str, typer.Option(help="Project the backup is of.", envvar="RESTEAD_PROJECT")],
    name: Annotated[str, typer.Option(help="Name of the backup; made up if left out.", show_default=False)] = "",
    description: Annotated[str, typer.Option(help="A sentence to find it by.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Take disk images as a backup of a server. The images are only read. The backup's id is the last word."""
    new = NewImport(server, project, format.value, files, name, description)
    with Bar(f"importing {count_of(len(files), 'image')}", as_json=json) as bar:
        backup = house.import_images(
            new, lambda percent, rate, left: bar.show(percent, phase="", rate=rate, left=left), say
        )
        bar.show(100)
    if json:
        print_json(_plain(backup))
        return
    stored = sum(volume.stored for volume in backup.volumes)
    say(f"backup {backup.name}: {count_of(len(backup.volumes), 'disk')}, {size(stored)} stored")
    print(backup.id)


def _plain(backup: Backup) -> dict[str, object]:
    return {
        "backup_id": backup.id, "checkpoint_id": backup.checkpoint_id, "name": backup.name,
        "project": backup.project_id, "server": {"id": backup.server.id, "name": backup.server.name},
        "taken_at": backup.protected_at and backup.protected_at.isoformat(),
        "disks": [
            {"id": each.id, "disk": each.volume_id, "name": each.volume_name, "size": each.size, "stored": each.stored}
            for each in backup.volumes
        ],
    }  # fmt: skip
