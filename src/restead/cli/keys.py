"""`restead key …`: what opens the repository, and the recovery key that does when everything else is lost."""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from restead.cli.doors import Keys
from restead.cli.show import count_of, on_terminal, print_json, size, table, when
from restead.cli.wiring import (
    Exit,
    Json,
    agree,
    agree_by_name,
    fail,
    group,
    looking_into_folder,
    on_folder,
    say,
    stderr,
)
from restead.domain.key import Key

keys = group("key", "What opens the repository: keys of all kinds, the recovery key; erasing a project.")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File whose first line is the passphrase; mode 0600.", show_default=False,
                 metavar="FILE"),
]  # fmt: skip


@keys.command("export")
@on_folder
def export(door: Keys) -> None:
    """Make a recovery key and print it, this once. With it and the repository alone, every backup opens."""
    key = door.export_recovery()
    say("keep this key away from this machine, on paper or in a safe; it is not stored here")
    print(key)
    say("then type it back: restead key confirm")


@keys.command("confirm")
@on_folder
def confirm(door: Keys) -> None:
    """Read the recovery key from standard input, and note that it is kept elsewhere."""
    door.confirm_recovery(_asked_for())
    if not sys.stdin.isatty():
        say("warning: the key came from a file or a program; one that is on this machine is lost with this machine")
    say("the recovery key is right, and noted as kept elsewhere")


@keys.command("recover")
@on_folder
def recover(door: Keys) -> None:
    """Read the recovery key from standard input, and make a new key file that opens the repository."""
    path = door.recover(_asked_for())
    say(f"key file {path} opens the repository from now on")


def _asked_for() -> str:
    if sys.stdin.isatty():
        stderr.print("recovery key: ", end="")
    return sys.stdin.readline().strip()


@keys.command("list")
@looking_into_folder
def list_(door: Keys, json: Json = False) -> None:
    """List all keys that open the repository, without their secrets."""
    found = door.keys()
    if json:
        for key in found:
            print_json(_plain(key))
    else:
        rows = [(key.id[:8], key.kind, when(key.added_at), key.label, _about(key)) for key in found]
        table(("ID", "KIND", "ADDED", "LABEL", ""), rows)
    if left := door.unfinished():
        say(f"warning: {count_of(left, 'old version')} of the keyring should have been deleted and can still be opened "
            "with keys that were removed: restead key erase --finish")  # fmt: skip


@keys.command("add")
@on_folder
def add(
    door: Keys,
    passphrase_file: PassphraseFile = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Make this new key file.", show_default=False, metavar="PATH")
    ] = None,
    label: Annotated[str, typer.Option(help="What people call the key.", show_default=False)] = "",
) -> None:
    """Let another passphrase, asked for or read from a file, or a new key file open the repository, too."""
    if passphrase_file and key_file:
        raise fail("--passphrase-file and --key-file exclude each other: add one key after the other", Exit.USAGE)
    if key_file:
        added = door.add_key_file(key_file, label)
        say(f"key file {key_file} opens the repository, too: whoever reads it can read every backup")
    else:
        added = door.add_passphrase(_passphrase(passphrase_file), label)
        say("the passphrase opens the repository, too")
    print(added.id)


@keys.command("remove")
@on_folder
def remove(
    door: Keys,
    id: Annotated[str, typer.Argument(help="Id from `key list`, or how it begins.", metavar="ID")],
    yes: Yes = False,
) -> None:
    """Let a key open the repository no more. Who has opened it before may have kept what it opens."""
    key = door.key(id)
    say(f"{key.kind} {key.id[:8]} ({key.label}, added {when(key.added_at)}) would open the repository no more")
    if not yes:
        agree("remove it?")
    versions = door.remove(key)
    say(f"it is removed, and so are {count_of(versions, 'old version')} of the keyring that it opened")
    say("this takes nothing from somebody who has kept a copy of the repository, or of what the key has opened")


@keys.command("change")
@on_folder
def change(door: Keys, passphrase_file: PassphraseFile = None) -> None:
    """Replace the key that this data folder uses: its key file by a new one, its passphrase by another."""
    if not door.uses_passphrase():
        if passphrase_file:
            raise fail("this data folder uses its key file: to use a passphrase, say restead key add, set "
                       "passphrase_file, then restead key remove the key file", Exit.REFUSED)  # fmt: skip
        say(door.change_key_file())
        return
    say(door.change_passphrase(_passphrase(passphrase_file)))


@keys.command("rotate")
@on_folder
def rotate(door: Keys) -> None:
    """Seal what is stored from now on with new keys; what is stored already stays readable."""
    door.rotate()
    say("packs that are begun from now on are sealed with new keys; a running service takes them with its next session")
    say("this takes nothing from somebody who has kept a key that opens the repository: see restead key remove")


@keys.command("erase")
@on_folder
def erase(
    door: Keys,
    project: Annotated[str, typer.Argument(help="Project whose keys are destroyed.", metavar="PROJECT")] = "",
    finish: Annotated[bool, typer.Option("--finish", help="Only finish what a crash has cut short.")] = False,
    yes: Yes = False,
) -> None:
    """Destroy the keys of a project, so that nobody can read any of its backups. No service may run."""
    if finish == bool(project):
        raise fail("say which PROJECT to erase, or --finish to finish what was cut short", Exit.USAGE)
    if finish:
        say(f"{count_of(door.finish(), 'old version')} of the keyring deleted; nothing is left to be finished")
        return
    lost = door.erasure(project)
    servers = f" of {', '.join(lost.servers)}" if lost.servers else ""
    say(f"project {project}: {count_of(lost.disks, 'disk backup')}{servers}, {size(lost.size)} of disks, "
        f"{size(lost.stored)} stored, would be lost for ever")  # fmt: skip
    if not yes:
        agree_by_name("type the name of the project to erase it", project)
    done = door.erase(project)
    say(f"project {project} is erased: {count_of(done.backups, 'backup')} in error, "
        f"{count_of(done.versions, 'old version')} of the keyring deleted")  # fmt: skip
    say("copies of the repository elsewhere, and versions that a store keeps of deleted objects, still hold the keys: "
        "delete them, too")  # fmt: skip


def _passphrase(file: Path | None) -> str:
    if file is not None:
        from restead.settings import first_line  # weighs a third of the command line

        return first_line(file)
    if not on_terminal():
        raise fail("this is no terminal, so nobody can be asked for a passphrase: say --passphrase-file", Exit.USAGE)
    text = getpass.getpass("restead: new passphrase: ", sys.stderr)
    if getpass.getpass("restead: the same again: ", sys.stderr) != text:
        raise fail("these are two different passphrases; nothing was changed", Exit.REFUSED)
    return text


def _about(key: Key) -> str:
    said = ["used by this folder"] if key.used_here else []
    said += [f"kept elsewhere, as said {when(key.confirmed_at)}"] if key.confirmed_at else []
    return "; ".join(said)


def _plain(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "kind": key.kind, "label": key.label,
        "added_at": key.added_at.isoformat() if key.added_at else None,
        "confirmed_at": key.confirmed_at.isoformat() if key.confirmed_at else None, "used_here": key.used_here,
    }  # fmt: skip
