"""Talking to a running QEMU: connect, say some commands, hang up.

A QMP socket serves one client at a time, and a second one waits in the dark: so every conversation is short, has a
time limit, and ends with its tasks awaited.  The library (qemu.qmp, extra `qemu`) is imported when it is first needed,
and so is asyncio: both weigh more than the rest of this driver, which mostly opens disks.
"""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from restead.domain.errors import Unavailable


class NoAnswer(Exception):
    """QEMU is not there, went away, is talking to somebody else, or refused a command."""


def require_library() -> None:
    """Return if the QMP library is there.  Raises Unavailable, naming what to install."""
    try:
        import qemu.qmp  # noqa: F401
    except ImportError as error:
        raise Unavailable("power qemu needs the Python package qemu.qmp: install restead[qemu]") from error


def converse(socket: Path, name: str, commands: Sequence[str], limit: float) -> list[object]:
    """Make sure that the guest at *socket* is called *name*, say *commands* one after the other, return the answers.

    Raises:
        NoAnswer: it did not answer all of them within *limit* seconds, or is another guest.
    """
    import asyncio

    require_library()
    return asyncio.run(_converse(socket, name, commands, limit))


async def _converse(socket: Path, name: str, commands: Sequence[str], limit: float) -> list[object]:
    import asyncio

    from qemu.qmp import ConnectError, QMPClient, QMPError

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # what it warns of is raised to us as well
    client = QMPClient("restead")
    try:
        async with asyncio.timeout(limit):
            await client.connect(str(socket))
            found = await client.execute("query-name")
            if not isinstance(found, dict) or found.get("name") != name:
                raise NoAnswer(f"the guest at {socket} is {found}, not {name}")
            return [await client.execute(command) for command in commands]
    except TimeoutError as error:
        raise NoAnswer(f"no answer within {limit:g} s") from error
    except ConnectError as error:
        raise NoAnswer(f"cannot connect: {error.exc}") from error
    except (QMPError, EOFError, OSError) as error:
        raise NoAnswer(f"{type(error).__name__}: {error}") from error
    finally:
        # A guest that went away shows here once more; unless it is fetched, the library prints it as a traceback.
        with contextlib.suppress(QMPError, EOFError, OSError):
            await client.disconnect()
