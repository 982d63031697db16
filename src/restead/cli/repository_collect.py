"""`restead repository collect`: what no backup needs any more is removed.  Works on the data folder."""

from dataclasses import asdict
from typing import Annotated

import typer

from restead.cli.doors import Stored
from restead.cli.repository import repository
from restead.cli.show import count_of, print_json, size
from restead.cli.wiring import Json, on_folder, say
from restead.domain.collected import Collected


@repository.command("collect")
@on_folder
def collect(
    stored: Stored,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go; change nothing.")] = False,
    garbage: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="Share of a pack that nothing needs, from which on the rest is copied."),
    ] = 0.5,
    small: Annotated[
        int, typer.Option(min=0, help="Small packs of a project that are enough to put them together; 0: never.")
    ] = 64,
    json: Json = False,
) -> None:
    """Remove what no backup needs any more. Backups and restores go on meanwhile, and other collections, too.

    What somebody who is at work might still build on is removed by a later collection.
    """
    done = stored.collect(dry=dry_run, garbage=garbage, small=small)
    if json:
        print_json(asdict(done))
    elif dry_run:
        print(f"{size(done.garbage)} would be freed, from {count_of(done.condemned, 'pack')}; {size(done.kept)} stay")
    else:
        freed = max(0, done.freed - done.copied)
        print(f"{size(freed)} freed: {count_of(done.removed, 'pack')} removed; {size(done.kept)} stay")
    if not json:
        _explain(done)


def _explain(done: Collected) -> None:
    if done.rewritten > done.merged:
        say(f"of {count_of(done.rewritten - done.merged, 'pack')} a part is needed and copied")
    if done.merged:
        say(f"{count_of(done.merged, 'small pack')} are put together to fewer")
    if done.later:
        say(f"{count_of(done.later, 'pack')} that nothing needs are looked at again when those at work have ended")
    if done.waiting:
        say(f"condemned packs wait for {count_of(len(done.waiting), 'session')} of backups or restores to end")
    if done.unknown:
        say(f"{count_of(done.unknown, 'pack')} of projects without keys are left alone")
    if done.locked:
        say(f"{count_of(done.locked, 'pack')} that nothing needs cannot be deleted yet: locked in the store until "
            f"{done.locked_until}, or longer; later collections try again")  # fmt: skip
