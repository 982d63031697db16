"""`restead repository …`: what the repository holds, whatever the lists say.  Works on the data folder."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from restead.cli.doors import Stored
from restead.cli.show import count_of, print_json, print_line, size, table, when
from restead.cli.verify import damage, scrub, verify
from restead.cli.wiring import Exit, Json, fail, group, looking_into_folder, on_folder, say
from restead.domain.stock import Settled, Settlement, StoredDisk, Succession

repository = group("repository", "See what the repository holds, whether it is whole, and bring it into the lists.")

for name, verb in {"verify": verify, "scrub": scrub, "damage": damage}.items():
    repository.command(name)(verb)

_DONE = {
    Settlement.ADOPTED: "is in the lists now",
    Settlement.FOUND: "was in error and can be restored now",
    Settlement.LOST: "is in error now",
    Settlement.LEFT: "left as it is",
}


@repository.command("list")
@looking_into_folder
def list_(
    stored: Stored,
    project: Annotated[str | None, typer.Option(help="Only of this project.", show_default=False)] = None,
    unlisted: Annotated[bool, typer.Option("--unlisted", help="Only what is in no list.")] = False,
    json: Json = False,
) -> None:
    """List the disk backups in the repository, oldest first, and whether a backup in the lists names them."""
    found = [
        disk for disk in stored.disks()
        if project in (None, disk.project_id) and not (unlisted and (disk.backup_id or disk.under_way))
    ]  # fmt: skip
    if json:
        for disk in found:
            print_json(_plain(disk))
        return
    rows = [
        (d.manifest, d.project_id, d.server.get("name", "?"), d.disk, d.role or "?", size(d.size) if d.role else "?",
         when(d.taken_at), _standing(d))
        for d in found
    ]  # fmt: skip
    table(("MANIFEST", "PROJECT", "SERVER", "DISK", "ROLE", "SIZE", "TAKEN AT", "BACKUP"), rows)
    for disk in found:
        if disk.damage:
            say(f"{disk.manifest}: {disk.damage}")


@repository.command("adopt")
@on_folder
def adopt(
    stored: Stored,
    older: Annotated[
        bool, typer.Option("--accept-older", help="The repository may be older than what was seen of it before.")
    ] = False,
    json: Json = False,
) -> None:
    """Make lists and repository agree, after one was lost or put back without the other. No service may run.

    Backups that are in no list come into them; those that the repository does not hold become error.
    """
    tell_succession(succession := stored.take_over(older=older))
    done = tell_settled(stored.settle(), json=json)
    if not json and not done:
        say("lists and repository agree; nothing was done")
    fail_if_damaged(succession, done)


@repository.command("digest")
@looking_into_folder
def digest(stored: Stored) -> None:
    """Print number and digest of the newest entry of the log: kept elsewhere, it shows a repository that is older."""
    number, found = stored.digest()
    print(f"{number}:{found.hex()}")


def tell_succession(found: Succession | None) -> None:
    """Tell people what a copy gave back."""
    if found is None:
        return
    for reason in found.damaged:
        say(f"{reason}: an older copy of what the service knew is used")
    if found.tokens or found.servers or found.policies:
        servers = f", servers {', '.join(found.servers)}" if found.servers else ""
        servers += f", {count_of(found.policies, 'policy', 'policies')}" if found.policies else ""
        say(f"taken over from service/{found.number}: {count_of(found.tokens, 'token')}{servers}")


def tell_settled(settled: Iterable[Settled], *, json: bool) -> list[Settled]:
    """Print each as it is done; return all."""
    done = []
    for each in settled:
        done.append(each)
        if json:
            print_json(_settled(each))
        else:
            _tell(each)
    return done


def fail_if_damaged(succession: Succession | None, done: Sequence[Settled]) -> None:
    """Raise typer.Exit if something could not be taken over."""
    if any(each.damaged for each in done):
        raise fail("some backups could not be taken in: what is stored of them is damaged", Exit.FAILED)
    if succession is not None and succession.damaged:
        raise fail("the newest copy of what the service knew is damaged", Exit.FAILED)


def _tell(each: Settled) -> None:
    which = f"{each.backup_id} {each.name}" if each.backup_id else "disk backups"
    why = f": {each.reason}" if each.reason else ""
    print_line(f"{which} of project {each.project_id}, {count_of(each.disks, 'disk')}, {_DONE[each.what]}{why}")


def _standing(disk: StoredDisk) -> str:
    if disk.damage:
        return "damaged"
    return disk.backup_id or ("under way" if disk.under_way else "in no list")


def _plain(disk: StoredDisk) -> dict[str, Any]:
    server = {name: value for name, value in disk.server.items() if name not in ("disk", "backup", "restore")}
    return {
        "manifest": disk.manifest, "project": disk.project_id, "disk": disk.disk, "role": disk.role, "size": disk.size,
        "taken_at": disk.taken_at and disk.taken_at.isoformat(), "label": disk.run_id, "backup_id": disk.backup_id,
        "under_way": disk.under_way, "damage": disk.damage or None, "server": server,
    }  # fmt: skip


def _settled(each: Settled) -> dict[str, Any]:
    return {
        "done": each.what.value, "project": each.project_id, "disks": each.disks, "backup_id": each.backup_id,
        "name": each.name, "reason": each.reason or None, "damaged": each.damaged,
    }  # fmt: skip
