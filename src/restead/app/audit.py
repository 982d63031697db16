"""The audit trail of what is done at this machine, with the command line."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from restead.domain.audit import Phase, Said
from restead.domain.errors import ResteadError
from restead.domain.ids import new_id
from restead.records import Records, audit


@contextmanager
def noting(records: Records, action: str, subject: str) -> Iterator[None]:
    """Note before the block that it was asked for, and afterwards what came of it.

    Raises:
        RecordsUnavailable: it cannot be noted, so nothing was begun; or what came of it cannot be.
    """
    asked = Said(Phase.ASKED, action, subject, _who(), address=socket.gethostname(), request_id=f"cli-{new_id()}")
    _note(records, asked)
    try:
        yield
    except BaseException as error:
        _note(records, asked.answered(_how(error)))
        raise
    _note(records, asked.answered("done"))


def _note(records: Records, said: Said) -> None:
    with records.begin() as tx:
        audit.append(tx, said)


def _who() -> str:
    """Return who runs us; who became root by sudo is named, too, as far as the environment tells."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = "?"
    before = os.environ.get("SUDO_USER", "")
    return f"{name} (uid {os.getuid()}{f', sudo by {before}' if before else ''})"


def _how(error: BaseException) -> str:
    if isinstance(error, ResteadError):
        return f"failed: {error.message}"
    if isinstance(error, typer.Exit):
        return f"exit code {error.exit_code}"
    return f"failed: {type(error).__name__}"
