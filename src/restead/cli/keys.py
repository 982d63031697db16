"""`restead key …`: the recovery key, which opens the repository when everything else is lost."""

import sys

from restead.cli.doors import Keys
from restead.cli.wiring import group, on_folder, say, stderr

keys = group("key", "Make a recovery key, confirm that it is kept elsewhere, use it.")


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
