"""The guest's agent (qemu-guest-agent), heard over a Unix socket: file systems are frozen for a moment, then thawed.

The agent answers one client at a time, in order, and as slowly as the guest likes.  Whatever an earlier client has left
unread in the channel is skipped by a `guest-sync-delimited` with a number of our own.  A freeze that does not answer in
time may still happen later: so a thaw is sent behind it at once, which the agent does next, even if nobody listens.
"""

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from restead.drivers.images.qmp import NoAnswer

_ANSWER = 5.0  # seconds for an answer of an agent that is well
_LINE = 1 << 16  # bytes of an answer
_DELIMITER = b"\xff"


class Agent:
    """A conversation with a guest's agent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unread = b""

    def freeze(self, limit: float) -> int:
        """Freeze all file systems, within *limit* seconds; return how many are frozen.  Raises NoAnswer."""
        try:
            return int(self._ask("guest-fsfreeze-freeze", limit))
        except (NoAnswer, ValueError, TypeError) as error:
            with contextlib.suppress(OSError):
                self._send({"execute": "guest-fsfreeze-thaw"})  # behind the freeze, if that still comes
            raise NoAnswer(f"its file systems were not frozen within {limit:g} s: {error}") from error

    def thaw(self) -> None:
        """Return when no file system is frozen: thawed, and asked.  Raises NoAnswer."""
        self._sync()
        self._ask("guest-fsfreeze-thaw", _ANSWER)
        if (status := self._ask("guest-fsfreeze-status", _ANSWER)) != "thawed":
            raise NoAnswer(f"its file systems are {status} after they were thawed")

    def _sync(self) -> None:
        """Skip what is left of earlier conversations.  Raises NoAnswer."""
        number, until = secrets.randbits(31), time.monotonic() + _ANSWER
        self._send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, before=_DELIMITER)
        while self._answer(until).get("return") != number:
            pass

    def _ask(self, command: str, limit: float) -> Any:
        self._send({"execute": command})
        answer = self._answer(time.monotonic() + limit)
        if "return" not in answer:
            raise NoAnswer(f"{command}: {answer.get('error', answer)}")
        return answer["return"]

    def _send(self, what: dict[str, object], before: bytes = b"") -> None:
        self._sock.settimeout(_ANSWER)
        try:
            self._sock.sendall(before + json.dumps(what).encode() + b"\n")
        except OSError as error:
            raise NoAnswer(f"it cannot be spoken to: {error}") from error

    def _answer(self, until: float) -> dict[str, Any]:
        """Return the next line that is an answer."""
        while True:
            line = self._line(until).rpartition(_DELIMITER)[2].strip()
            with contextlib.suppress(ValueError):
                if isinstance(found := json.loads(line), dict):
                    return found

    def _line(self, until: float) -> bytes:
        while b"\n" not in self._unread:
            self._sock.settimeout(max(0.01, until - time.monotonic()))
            try:
                more = self._sock.recv(_LINE)
            except OSError as error:
                raise NoAnswer(f"it does not answer: {error}") from error
            if not more or len(self._unread) > _LINE or time.monotonic() > until:
                raise NoAnswer("it does not answer" if more else "its line was closed")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line


@contextmanager
def agent_at(path: Path) -> Iterator[Agent]:
    """Speak with the agent at that socket, once it has found its ears.  Raises NoAnswer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_ANSWER)
        try:
            sock.connect(str(path))
        except OSError as error:
            raise NoAnswer(f"it cannot be reached: {error}") from error
        agent = Agent(sock)
        agent._sync()
        yield agent
