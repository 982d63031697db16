"""Talking to a running QEMU: connect, say some commands, hang up.

A QMP socket serves one client at a time, and a second one waits in the dark: so every conversation is short, has a
time limit, and ends with its tasks awaited.  The library (qemu.qmp, extra `qemu`) is imported when it is first needed,
and so is asyncio: both weigh more than the rest of this driver, which mostly opens disks.
"""

import contextlib
import errno
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from restead.domain.errors import Unavailable

if TYPE_CHECKING:
    import asyncio

    from qemu.qmp import QMPClient

Answer = TypeVar("Answer")
Command = tuple[str, Mapping[str, object]]
"""What is executed, and its arguments."""

_BUSY = "it hangs, or somebody else is connected to it"


class NoAnswer(Exception):
    """QEMU, or the agent in its guest, is not there, went away, talks to somebody else, or refused a command."""


class Refused(NoAnswer):
    """QEMU understood a command and does not do it; nothing of it was done."""


def require_library() -> None:
    """Return if the QMP library is there.  Raises Unavailable, naming what to install."""
    try:
        import qemu.qmp  # noqa: F401
    except ImportError as error:
        raise Unavailable("power qemu needs the Python package qemu.qmp: install restead[qemu]") from error


def converse(socket: Path, name: str, commands: Sequence[str], limit: float) -> list[Any]:
    """Make sure that the guest at *socket* is called *name*, say *commands* one after the other, return the answers.

    Raises:
        NoAnswer: it did not answer all of them within *limit* seconds, or is another guest.
    """
    import asyncio

    require_library()

    async def say() -> list[Any]:
        from qemu.qmp import QMPClient

        client = QMPClient("restead")
        try:
            async with asyncio.timeout(limit):
                await _greet(client, socket, name)
                return [await client.execute(command) for command in commands]
        finally:
            await _hang_up(client)

    with asyncio.Runner() as runner:
        return _translated(runner, say(), limit)


class Monitor:
    """An open conversation.  For one thread; nobody else can talk to that QEMU meanwhile."""

    def __init__(self, runner: "asyncio.Runner", client: "QMPClient", limit: float) -> None:
        self._runner = runner
        self._client = client
        self._limit = limit

    def ask(self, command: str, **arguments: object) -> Any:
        """Return the answer to a command; `_` in the names of its arguments is `-`.

        Raises:
            Refused: QEMU does not do it.  NoAnswer: it did not answer within the limit, or went away.
        """
        return self.say((command, {name.replace("_", "-"): value for name, value in arguments.items()}))

    def say(self, command: Command) -> Any:
        """As `ask`, with the arguments as QEMU names them."""
        (found,) = self.burst([command])
        if isinstance(found, Exception):
            raise found
        return found

    def burst(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once, so that QEMU does one right after the other; return what came of each.

        What it refused is in its place as a Refused, and those behind it are done all the same.

        Raises:
            NoAnswer: it did not answer all of them within the limit, or went away.
        """
        import asyncio

        from qemu.qmp import ExecuteError

        async def all_of_them() -> list[Any]:
            async with asyncio.timeout(self._limit):
                said = [self._client.execute(name, dict(arguments) or None) for name, arguments in commands]
                return await asyncio.gather(*said, return_exceptions=True)

        found = _translated(self._runner, all_of_them(), self._limit)
        for number, answer in enumerate(found):
            if isinstance(answer, ExecuteError):
                found[number] = Refused(f"{commands[number][0]}: {answer}")
            elif isinstance(answer, BaseException):
                raise NoAnswer(f"{commands[number][0]}: {type(answer).__name__}: {answer}")
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return what QEMU has told by itself since the conversation began, or since this was asked last."""
        return [dict(event) for event in self._client.events.clear()]


@contextmanager
def talking(socket: Path, name: str, limit: float) -> Iterator[Monitor]:
    """Begin a conversation with the guest at *socket*, which must be called *name*; *limit*: seconds for each answer.

    Raises:
        NoAnswer: it did not answer, or is another guest.
    """
    import asyncio

    require_library()
    from qemu.qmp import QMPClient

    client = QMPClient("restead")

    async def greet() -> None:
        async with asyncio.timeout(limit):
            await _greet(client, socket, name)

    with asyncio.Runner() as runner:
        try:
            _translated(runner, greet(), limit)
            yield Monitor(runner, client, limit)
        finally:
            runner.run(_hang_up(client))


async def _greet(client: "QMPClient", socket: Path, name: str) -> None:
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # what it warns of is raised to us as well
    await client.connect(str(socket))
    found = await client.execute("query-name")
    if not isinstance(found, dict) or found.get("name") != name:
        raise NoAnswer(f"the guest at {socket} is {found}, not {name}")


async def _hang_up(client: "QMPClient") -> None:
    from qemu.qmp import QMPError

    # A guest that went away shows here once more; unless it is fetched, the library prints it as a traceback.
    with contextlib.suppress(QMPError, EOFError, OSError):
        await client.disconnect()


def _translated(runner: "asyncio.Runner", work: Coroutine[Any, Any, Answer], limit: float) -> Answer:
    from qemu.qmp import ConnectError, QMPError

    try:
        return runner.run(work)
    except TimeoutError as error:
        raise NoAnswer(f"no answer within {limit:g} s: {_BUSY}") from error
    except ConnectError as error:
        # The kernel lets only so many wait to be taken; asyncio then believes in a connection that is none.
        full = isinstance(error.exc, OSError) and error.exc.errno in (errno.EINVAL, errno.EAGAIN)
        raise NoAnswer(f"cannot connect: {_BUSY if full else str(error.exc) or 'it hung up'}") from error
    except (QMPError, EOFError, OSError) as error:
        raise NoAnswer(f"{type(error).__name__}: {error}") from error
