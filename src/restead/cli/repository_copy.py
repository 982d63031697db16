"""`restead repository copy`: backups in a second repository, which needs nothing of the first."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from restead.cli.doors import Copying, Stored
from restead.cli.progress import Bar
from restead.cli.repository import repository
from restead.cli.show import count_of, print_json, print_line, ranges, size
from restead.cli.wiring import Exit, Json, fail, on_folder, say
from restead.domain.copied import Copied, CopyState


@repository.command("copy")
@on_folder
def copy(
    stored: Stored,
    to: Annotated[str, typer.Option(help="Where to: a folder, or s3://BUCKET/PREFIX.", metavar="ADDRESS")],
    backups: Annotated[
        list[str] | None,
        typer.Argument(help="Names or ids; all if none is said.", metavar="BACKUP", show_default=False),
    ] = None,
    to_key_file: Annotated[
        Path | None,
        typer.Option(help="Key file that opens it; made with it.", metavar="FILE", show_default=False),
    ] = None,
    to_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase that opens it.", metavar="FILE", show_default=False)
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only of this project.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Copy backups into another repository, made if it is missing: what is there already is left alone.

    Exit code 1 if one is damaged; the others are copied.
    """
    if to_key_file and to_passphrase_file:
        raise fail("say --to-key-file or --to-passphrase-file, not both", Exit.USAGE)
    wanted = Copying(to, to_key_file, to_passphrase_file, project, tuple(backups or ()))
    states: Counter[CopyState] = Counter()
    with Bar("copying", as_json=json) as bar:
        for done in stored.copy(wanted, lambda part, whole: bar.show(part * 100 // whole if whole else 100)):
            states[done.state] += 1
            _tell(done, json=json)
    if not json:
        say(f"{count_of(states[CopyState.COPIED], 'backup')} copied, {states[CopyState.THERE]} there already")
    if states[CopyState.DAMAGED]:
        raise fail(f"{count_of(states[CopyState.DAMAGED], 'backup')} damaged and not copied", Exit.FAILED)


def _tell(done: Copied, *, json: bool) -> None:
    if json:
        print_json(asdict(done))
        return
    which = f"{done.backup_id} {done.name}" if done.backup_id else f"backup of run {done.run_id}"
    if done.state is CopyState.COPIED:
        print_line(
            f"{which} of project {done.project_id}, {count_of(done.disks, 'disk')} of {size(done.size)}: "
            f"{size(done.read)} read, {size(done.stored)} stored"
        )
    elif done.state is CopyState.GONE:
        print_line(f"{which} of project {done.project_id} was deleted meanwhile")
    for damage in done.damage:
        why = f"disk {damage.disk}: {damage.message}"
        print_line(f"{which} of project {done.project_id} is damaged and not copied: {why}")
        for line in ranges(damage.ranges):
            print(line)
